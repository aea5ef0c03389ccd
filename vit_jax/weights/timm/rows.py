"""The table of timm's Vision Transformers: `VisionTransformer`, its distilled and hybrid forms, and `Eva`."""

from collections.abc import Collection

from vit_jax.weights.rename import Arrays, Row

STEM = "patch_embed.backbone."
UNITS = r"patch_embed\.backbone\.stages\.(\d)\.blocks\.(\d{1,2})\..*"

# Where timm's own classes name, or cut, the same arrays in more than one way: an array that only the form has.
FORMS = {
    "gamma_1": "blocks.0.gamma_1",  # layer scale is the block's own
    "q_proj": "blocks.0.attn.q_proj.weight",  # query, key and value are three layers
    "q_bias": "blocks.0.attn.q_bias",  # they are one, with biases of their own
    "fc1_g": "blocks.0.mlp.fc1_g.weight",  # the gate is a layer of its own
}
KERNEL = "filters channels height width -> height width channels filters"
PACKED = "gate_in_fc1"  # the gate is the first half of fc1


def forms_of(arrays: Arrays) -> list[str]:
    """Returns the forms that a file's names, and the shapes of its MLP, show."""
    found = [form for form, name in FORMS.items() if name in arrays]
    first, last = (arrays.get(f"blocks.0.mlp.{layer}.weight") for layer in ("fc1", "fc2"))
    if first is not None and last is not None and first.shape[:1] == (2 * last.shape[-1],):
        found.append(PACKED)
    return found


def sizes(heads: int) -> dict[str, int]:
    """Returns the lengths of axes that the patterns take apart."""
    return {"heads": heads, "two": 2, "three": 3}


def rows(forms: Collection[str]) -> tuple[Row, ...]:
    """Returns the table, a hybrid's stem left out, of files in these forms; what not all families have is optional."""
    theirs, ours = "blocks.*", "encoder/block*"
    scale = "gamma_{}" if "gamma_1" in forms else "ls{}.gamma"
    return (
        Row(
            "patch_embed.proj.weight",
            "patch_embedding/kernel",
            KERNEL,
        ),
        Row("patch_embed.proj.bias", "patch_embedding/bias", optional=True),
        Row("cls_token", "class_token", "1 count width -> count width", optional=True),
        Row("dist_token", "distillation_token", "1 count width -> count width", optional=True),
        Row("reg_token", "registers", "1 count width -> count width", optional=True),
        Row("pos_embed", "positions/table", "1 tokens width -> tokens width", optional=True),
        *_norm("norm_pre", "norm_embedded", optional=True),
        *_norm(f"{theirs}.norm1", f"{ours}/norm_attention"),
        *_attention(f"{theirs}.attn", f"{ours}/attention", forms),
        Row(f"{theirs}.{scale.format(1)}", f"{ours}/scale_attention", optional=True),
        *_norm(f"{theirs}.norm2", f"{ours}/norm_mlp"),
        *_mlp(f"{theirs}.mlp", f"{ours}/mlp", forms),
        Row(f"{theirs}.{scale.format(2)}", f"{ours}/scale_mlp", optional=True),
        *_norm("norm", "encoder/norm", optional=True),
        *_attention_pool("attn_pool", "pool"),
        *_norm("fc_norm", "norm_features", optional=True),
        *_dense("head", "head", optional=True),
        *_dense("head_dist", "head_distillation", optional=True),
    )


def stem_rows(units: tuple[int, ...]) -> tuple[Row, ...]:
    """Returns the table of a hybrid's stem of so many `units` a stage."""
    root = STEM + ("stem." if units else "")
    rows = [*_standardized(f"{root}conv", f"{root}norm", "stem/root", "stem/root_norm")]
    for stage, count in enumerate(units):
        for unit in range(count):
            theirs, ours = f"{STEM}stages.{stage}.blocks.{unit}", f"stem/stage{stage + 1}/unit{unit + 1:02}"
            for n in (1, 2, 3):
                rows += _standardized(f"{theirs}.conv{n}", f"{theirs}.norm{n}", f"{ours}/conv{n}", f"{ours}/norm{n}")
            if unit == 0:
                theirs, ours = f"{theirs}.downsample", f"{ours}/projection"
                rows += _standardized(f"{theirs}.conv", f"{theirs}.norm", ours, f"{ours}_norm")
    return tuple(rows)


def _standardized(conv: str, norm: str, our_conv: str, our_norm: str) -> list[Row]:
    kernel = Row(f"{conv}.weight", f"{our_conv}/kernel", KERNEL)
    return [kernel, *_norm(norm, our_norm)]


def _attention(theirs: str, ours: str, forms: Collection[str]) -> list[Row]:
    of_kernel, of_bias = "(heads dim) width -> width heads dim", "(heads dim) -> heads dim"
    found = [
        Row(f"{theirs}.proj.weight", f"{ours}/out/kernel", "width (heads dim) -> heads dim width"),
        Row(f"{theirs}.proj.bias", f"{ours}/out/bias"),
        *_norm(f"{theirs}.q_norm", f"{ours}/norm_query", optional=True),
        *_norm(f"{theirs}.k_norm", f"{ours}/norm_key", optional=True),
    ]
    if "q_proj" in forms:
        for name in ("query", "key", "value"):
            found.append(Row(f"{theirs}.{name[0]}_proj.weight", f"{ours}/{name}/kernel", of_kernel))
            found.append(Row(f"{theirs}.{name[0]}_proj.bias", f"{ours}/{name}/bias", of_bias, optional=True))
        return found
    pattern = "(three heads dim) width -> three width heads dim"
    found.append(Row(f"{theirs}.qkv.weight", f"{ours}/{{query,key,value}}/kernel", pattern))
    if "q_bias" in forms:
        return found + [Row(f"{theirs}.{name[0]}_bias", f"{ours}/{name}/bias", of_bias) for name in ("query", "value")]
    pattern = "(three heads dim) -> three heads dim"
    return [*found, Row(f"{theirs}.qkv.bias", f"{ours}/{{query,key,value}}/bias", pattern, optional=True)]


def _mlp(theirs: str, ours: str, forms: Collection[str]) -> list[Row]:
    last = [*_norm(f"{theirs}.norm", f"{ours}/norm", optional=True), *_dense(f"{theirs}.fc2", f"{ours}/out")]
    if PACKED in forms:
        both = f"{ours}/{{gate,hidden}}"
        return [
            Row(f"{theirs}.fc1.weight", f"{both}/kernel", "(two hidden) width -> two width hidden"),
            Row(f"{theirs}.fc1.bias", f"{both}/bias", "(two hidden) -> two hidden"),
            *last,
        ]
    if "fc1_g" in forms:
        return [*_dense(f"{theirs}.fc1_g", f"{ours}/gate"), *_dense(f"{theirs}.fc1_x", f"{ours}/hidden"), *last]
    return [*_dense(f"{theirs}.fc1", f"{ours}/hidden"), *last]


def _attention_pool(theirs: str, ours: str) -> list[Row]:
    of_kernel, of_bias = "(heads dim) width -> width heads dim", "(heads dim) -> heads dim"
    both = f"{ours}/attention/{{key,value}}"
    return [
        Row(f"{theirs}.latent", f"{ours}/probe", "1 count width -> count width", optional=True),
        Row(f"{theirs}.q.weight", f"{ours}/attention/query/kernel", of_kernel, optional=True),
        Row(f"{theirs}.q.bias", f"{ours}/attention/query/bias", of_bias, optional=True),
        Row(f"{theirs}.kv.weight", f"{both}/kernel", "(two heads dim) width -> two width heads dim", optional=True),
        Row(f"{theirs}.kv.bias", f"{both}/bias", "(two heads dim) -> two heads dim", optional=True),
        Row(f"{theirs}.proj.weight", f"{ours}/attention/out/kernel", "width (heads dim) -> heads dim width", True),
        Row(f"{theirs}.proj.bias", f"{ours}/attention/out/bias", optional=True),
        *_norm(f"{theirs}.norm", f"{ours}/norm", optional=True),
        *_dense(f"{theirs}.mlp.fc1", f"{ours}/mlp/hidden", optional=True),
        *_dense(f"{theirs}.mlp.fc2", f"{ours}/mlp/out", optional=True),
    ]


def _dense(theirs: str, ours: str, optional: bool = False) -> list[Row]:
    kernel = Row(f"{theirs}.weight", f"{ours}/kernel", "outputs inputs -> inputs outputs", optional)
    return [kernel, Row(f"{theirs}.bias", f"{ours}/bias", optional=optional)]


def _norm(theirs: str, ours: str, optional: bool = False) -> list[Row]:
    leaves = (("weight", "scale"), ("bias", "bias"))
    return [Row(f"{theirs}.{leaf}", f"{ours}/{our_leaf}", optional=optional) for leaf, our_leaf in leaves]
