"""The names of arrays in transformers' checkpoints, as they lie on disk: version 5 renames in memory alone."""

from vit_jax.weights.rename import Row

Rows = tuple[Row, ...]
QUERIES = "(heads dim) width -> width heads dim"
OUT = "out (heads dim) -> heads dim out"


def linear(theirs: str, ours: str, pattern: str = "outputs inputs -> inputs outputs", optional: bool = False) -> Rows:
    """Returns the rows of a dense layer."""
    weight, bias = Row(f"{theirs}.weight", f"{ours}/kernel", pattern), Row(f"{theirs}.bias", f"{ours}/bias")
    return tuple(Row(row.theirs, row.ours, row.pattern, optional) for row in (weight, bias))


def norm(theirs: str, ours: str, optional: bool = False) -> Rows:
    """Returns the rows of a norm."""
    leaves = {"weight": "scale", "bias": "bias"}
    return tuple(Row(f"{theirs}.{their}", f"{ours}/{our}", optional=optional) for their, our in leaves.items())


def query_key_value(theirs: str, ours: str, names: dict[str, str]) -> Rows:
    """Returns the rows of three dense layers, their names to ours, whose biases there may not be."""
    return tuple(
        row
        for their, our in names.items()
        for row in (
            Row(f"{theirs}.{their}.weight", f"{ours}/{our}/kernel", QUERIES),
            Row(f"{theirs}.{their}.bias", f"{ours}/{our}/bias", "(heads dim) -> heads dim", optional=True),
        )
    )


def patches(theirs: str) -> Rows:
    """Returns the rows of a patch embedding; CLIP's has no bias."""
    kernel = Row(f"{theirs}.weight", "patch_embedding/kernel", "out channels rows columns -> rows columns channels out")
    return kernel, Row(f"{theirs}.bias", "patch_embedding/bias", optional=True)


def token(theirs: str, ours: str) -> Row:
    """Returns the row of one token, or of some side by side."""
    return Row(theirs, ours, "1 count width -> count width")


LAYER, BLOCK = "encoder.layer.*", "encoder/block*"
EMBEDDED: Rows = (
    *patches("embeddings.patch_embeddings.projection"),
    token("embeddings.cls_token", "class_token"),
    Row("embeddings.position_embeddings", "positions/table", "1 tokens width -> tokens width"),
    *norm("layernorm", "encoder/norm"),
)
ATTENTION: Rows = (
    *query_key_value(
        f"{LAYER}.attention.attention", f"{BLOCK}/attention", {name: name for name in ("query", "key", "value")}
    ),
    *linear(f"{LAYER}.attention.output.dense", f"{BLOCK}/attention/out", OUT),
)


def vit(gated: bool) -> Rows:
    """Returns the rows of ViT and of the masked autoencoder's encoder."""
    return (
        *EMBEDDED,
        *ATTENTION,
        *norm(f"{LAYER}.layernorm_before", f"{BLOCK}/norm_attention"),
        *norm(f"{LAYER}.layernorm_after", f"{BLOCK}/norm_mlp"),
        *linear(f"{LAYER}.intermediate.dense", f"{BLOCK}/mlp/hidden"),
        *linear(f"{LAYER}.output.dense", f"{BLOCK}/mlp/out"),
    )


def deit(gated: bool) -> Rows:
    """Returns the rows of DeiT, all of whose models have both tokens."""
    return (*vit(gated), token("embeddings.distillation_token", "distillation_token"))


def dinov2(gated: bool) -> Rows:
    """Returns the rows of DINOv2; a `gated` MLP has its first two layers in one array, the gate first."""
    hidden = f"{BLOCK}/mlp/{{gate,hidden}}"
    swiglu = (
        Row(f"{LAYER}.mlp.weights_in.weight", f"{hidden}/kernel", "(two hidden) width -> two width hidden"),
        Row(f"{LAYER}.mlp.weights_in.bias", f"{hidden}/bias", "(two hidden) -> two hidden"),
        *linear(f"{LAYER}.mlp.weights_out", f"{BLOCK}/mlp/out"),
    )
    dense = (*linear(f"{LAYER}.mlp.fc1", f"{BLOCK}/mlp/hidden"), *linear(f"{LAYER}.mlp.fc2", f"{BLOCK}/mlp/out"))
    return (
        *EMBEDDED,
        Row("embeddings.mask_token", None, "1 width", optional=True),
        *ATTENTION,
        *norm(f"{LAYER}.norm1", f"{BLOCK}/norm_attention"),
        *norm(f"{LAYER}.norm2", f"{BLOCK}/norm_mlp"),
        Row(f"{LAYER}.layer_scale1.lambda1", f"{BLOCK}/scale_attention"),
        Row(f"{LAYER}.layer_scale2.lambda1", f"{BLOCK}/scale_mlp"),
        *(swiglu if gated else dense),
    )


def dinov2_with_registers(gated: bool) -> Rows:
    """Returns the rows of DINOv2 with registers."""
    return (*dinov2(gated), token("embeddings.register_tokens", "registers"))


def dinov3(gated: bool) -> Rows:
    """Returns the rows of DINOv3, whose encoder has no name."""
    layer = "layer.*"
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
    gate = linear(f"{layer}.mlp.gate_proj", f"{BLOCK}/mlp/gate") if gated else ()
    return (
        *patches("embeddings.patch_embeddings"),
        token("embeddings.cls_token", "class_token"),
        token("embeddings.register_tokens", "registers"),
        Row("embeddings.mask_token", None, "1 1 width", optional=True),
        *query_key_value(f"{layer}.attention", f"{BLOCK}/attention", names),
        *linear(f"{layer}.attention.o_proj", f"{BLOCK}/attention/out", OUT),
        *norm(f"{layer}.norm1", f"{BLOCK}/norm_attention"),
        *norm(f"{layer}.norm2", f"{BLOCK}/norm_mlp"),
        Row(f"{layer}.layer_scale1.lambda1", f"{BLOCK}/scale_attention"),
        Row(f"{layer}.layer_scale2.lambda1", f"{BLOCK}/scale_mlp"),
        *linear(f"{layer}.mlp.up_proj", f"{BLOCK}/mlp/hidden"),
        *gate,
        *linear(f"{layer}.mlp.down_proj", f"{BLOCK}/mlp/out"),
        *norm("norm", "encoder/norm"),
    )


def tower(gated: bool) -> Rows:
    """Returns the rows that the vision towers of CLIP and SigLIP share."""
    layer = "encoder.layers.*"
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
    return (
        *patches("embeddings.patch_embedding"),
        Row("embeddings.position_embedding.weight", "positions/table"),
        *query_key_value(f"{layer}.self_attn", f"{BLOCK}/attention", names),
        *linear(f"{layer}.self_attn.out_proj", f"{BLOCK}/attention/out", OUT),
        *norm(f"{layer}.layer_norm1", f"{BLOCK}/norm_attention"),
        *norm(f"{layer}.layer_norm2", f"{BLOCK}/norm_mlp"),
        *linear(f"{layer}.mlp.fc1", f"{BLOCK}/mlp/hidden"),
        *linear(f"{layer}.mlp.fc2", f"{BLOCK}/mlp/out"),
    )


def clip(gated: bool) -> Rows:
    """Returns the rows of CLIP's vision tower but its last norm, which a class may leave unread."""
    return (
        *tower(gated),
        Row("embeddings.class_embedding", "class_token", "width -> 1 width"),
        *norm("pre_layrnorm", "norm_embedded"),
    )


def siglip(gated: bool) -> Rows:
    """Returns the rows of SigLIP's vision tower; its attention pool may be absent."""
    in_proj, pooled = "head.attention.in_proj_", "pool/attention/{query,key,value}"
    pool = (
        Row("head.probe", "pool/probe", "1 1 width -> 1 width"),
        Row(f"{in_proj}weight", f"{pooled}/kernel", "(three heads dim) width -> three width heads dim"),
        Row(f"{in_proj}bias", f"{pooled}/bias", "(three heads dim) -> three heads dim"),
        *linear("head.attention.out_proj", "pool/attention/out", OUT),
        *norm("head.layernorm", "pool/norm"),
        *linear("head.mlp.fc1", "pool/mlp/hidden"),
        *linear("head.mlp.fc2", "pool/mlp/out"),
    )
    return (
        *tower(gated),
        *norm("post_layernorm", "encoder/norm"),
        *(Row(row.theirs, row.ours, row.pattern, optional=True) for row in pool),
    )


# ViT's and DeiT's models without head may have one of pre-training.
POOLER = linear("pooler.dense", "pre_logits", optional=True)

# The last norm of CLIP's tower reads the class token; the class with a classifier has it, and does not read it.
CLIP_NORM = norm("post_layernorm", "norm_features")
CLIP_NORM_UNREAD: Rows = tuple(Row(row.theirs, None, "width", optional=True) for row in CLIP_NORM)

# What reads the features, by the name of its first layer.
HEADS: dict[str, Rows] = {
    "classifier": linear("classifier", "head"),
    "cls_classifier": (
        *linear("cls_classifier", "head"),
        *linear("distillation_classifier", "head_distillation"),
    ),
    "visual_projection": (
        Row("visual_projection.weight", "head/kernel", "outputs inputs -> inputs outputs"),
        Row(None, "head/bias", "classes"),
    ),
    "": (),
}
