"""Google's Vision Transformers and hybrids as `.npz` files: the paper's, AugReg's and SAM's (gs://vit_models)."""

from collections.abc import Mapping
from typing import Any

import einops
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax.errors import UserError, pick
from vit_jax.models.sizes import ResNetSize, Size
from vit_jax.shapes import Parameters
from vit_jax.weights.loaded import Loaded, is_zeroed, refuse_other_kinds
from vit_jax.weights.rename import Arrays, Row, split_positions, to_ours, to_theirs, units_of

# Submodules were counted through a block before Flax linen ("original", all published files), class by class since.
# LayerNorm_0 comes before attention in both; (attention, norm before the MLP, MLP):
NUMBERINGS = {
    "original": ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"),
    "linen": ("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"),
}

# How the family was trained, which the files do not say: google-research/vision_transformer at c6de1e5.
NUMERICS = {"activation": "gelu_tanh", "norm_epsilon": 1e-6}
STEM_NUMERICS = {"standardization": "google", "stem_norm_epsilon": 1e-6}
RECIPE = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "position_resize": "linear_align_corners"}

# Group norms were published as Flax made them before 0.3.6, with the axes of a map (google/flax issue 1721).
PUBLISHED_NORM = "1 1 1 channels -> channels"
UNITS = r"stem/stage(\d)/unit(\d{2})/.*"


def rows(numbering: str) -> tuple[Row, ...]:
    """Returns the table of a Vision Transformer, the stem of a hybrid left out, in one of the NUMBERINGS."""
    attention, norm_mlp, mlp = pick(NUMBERINGS, numbering, "numbering")
    theirs, ours = "Transformer/encoderblock_*", "encoder/block*"
    return (
        *_dense("embedding", "patch_embedding"),
        Row("cls", "class_token", "1 count width -> count width", optional=True),
        Row("Transformer/posembed_input/pos_embedding", "positions/table", "1 tokens width -> tokens width"),
        *_norm(f"{theirs}/LayerNorm_0", f"{ours}/norm_attention"),
        *_dense(f"{theirs}/{attention}/query", f"{ours}/attention/query"),
        *_dense(f"{theirs}/{attention}/key", f"{ours}/attention/key"),
        *_dense(f"{theirs}/{attention}/value", f"{ours}/attention/value"),
        *_dense(f"{theirs}/{attention}/out", f"{ours}/attention/out"),
        *_norm(f"{theirs}/{norm_mlp}", f"{ours}/norm_mlp"),
        *_dense(f"{theirs}/{mlp}/Dense_0", f"{ours}/mlp/hidden"),
        *_dense(f"{theirs}/{mlp}/Dense_1", f"{ours}/mlp/out"),
        *_norm("Transformer/encoder_norm", "encoder/norm"),
        *_dense("pre_logits", "pre_logits", optional=True),
        *_dense("head", "head"),
    )


def stem_rows(units: tuple[int, ...], norm: str | None = PUBLISHED_NORM) -> tuple[Row, ...]:
    """Returns the table of a hybrid's stem of so many `units` a stage; `norm` is the pattern of its norms' arrays."""
    rows = [Row("conv_root/kernel", "stem/root/kernel"), *_norm("gn_root", "stem/root_norm", norm)]
    for stage, count in enumerate(units, 1):
        for unit in range(1, count + 1):
            theirs, ours = f"block{stage}/unit{unit}", f"stem/stage{stage}/unit{unit:02}"
            for layer in (1, 2, 3):
                rows.append(Row(f"{theirs}/conv{layer}/kernel", f"{ours}/conv{layer}/kernel"))
                rows += _norm(f"{theirs}/gn{layer}", f"{ours}/norm{layer}", norm)
            if unit == 1:
                rows.append(Row(f"{theirs}/conv_proj/kernel", f"{ours}/projection/kernel"))
                rows += _norm(f"{theirs}/gn_proj", f"{ours}/projection_norm", norm)
    return tuple(rows)


def _dense(theirs: str, ours: str, optional: bool = False) -> list[Row]:
    return [Row(f"{theirs}/{leaf}", f"{ours}/{leaf}", optional=optional) for leaf in ("kernel", "bias")]


def _norm(theirs: str, ours: str, pattern: str | None = None) -> list[Row]:
    return [Row(f"{theirs}/{leaf}", f"{ours}/{leaf}", pattern) for leaf in ("scale", "bias")]


def load(arrays: Arrays, grid: tuple[int, int] | None = None) -> Loaded:
    """Returns the weights in our layout with all that is known about them.

    Args:
      arrays: the file, as `files.read_npz` returns it.
      grid: (rows, columns) of patches that the positions were learned on; None for a square, as all published ones.

    Raises:
      UserError: names or shapes of another family, arrays that are not floats, positions off the grid.
    """
    refuse_other_kinds(arrays)
    table = rows("linen" if any("/MlpBlock_0/" in name for name in arrays) else "original")
    if "conv_root/kernel" in arrays:
        flat = "gn_root/scale" in arrays and arrays["gn_root/scale"].ndim == 1
        units = units_of(arrays, r"block(\d)/unit(\d{1,2})/.*")
        table += stem_rows(units, None if flat else PUBLISHED_NORM)
    ours = to_ours(arrays, table)
    prefix = 1 if "class_token" in ours else 0
    prefixes, ours["positions/grid"] = split_positions(ours.pop("positions/table"), prefix, grid)
    if prefix:
        ours["positions/prefix"] = prefixes
    ours = {name: np.asarray(array, np.float32) for name, array in ours.items()}
    zeroed_head = is_zeroed(ours["head/kernel"])
    return Loaded(unflatten_dict(ours, sep="/"), zeroed_head=zeroed_head, **_facts(ours), **RECIPE)


def save(parameters: Parameters, numbering: str = "original") -> dict[str, np.ndarray]:
    """Returns `parameters` as Google published such: the exact inverse of `load`."""
    ours = {name: np.asarray(array) for name, array in flatten_dict(parameters, sep="/").items()}
    table = einops.rearrange(ours.pop("positions/grid"), "rows columns width -> (rows columns) width")
    ours["positions/table"] = np.concatenate([ours.pop("positions/prefix", table[:0]), table])
    hybrid = "stem/root/kernel" in ours
    stem = stem_rows(units_of(ours, UNITS)) if hybrid else ()
    return to_theirs(ours, rows(numbering) + stem)


def _facts(ours: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns what the arrays themselves tell about their model."""

    def sizes(name: str, axes: str) -> dict[str, int]:
        try:
            return einops.parse_shape(ours[name], axes)
        except RuntimeError:
            raise UserError(
                f'{name} has shape {ours[name].shape}, wanted the axes "{axes}"; is the file damaged?'
            ) from None

    patch = sizes("patch_embedding/kernel", "height width _ features")
    query = sizes("encoder/block00/attention/query/kernel", "width heads _")
    hybrid = "stem/root/kernel" in ours
    size = Size(
        width=query["width"],
        depth=sum(name.endswith("/norm_mlp/scale") for name in ours),
        mlp_hidden=sizes("encoder/block00/mlp/hidden/kernel", "_ hidden")["hidden"],
        heads=query["heads"],
        patch=(patch["height"], patch["width"]),
        stem=ResNetSize(units_of(ours, UNITS), sizes("stem/root/kernel", "_ _ _ width")["width"]) if hybrid else None,
    )
    (rows, columns), (height, width) = ours["positions/grid"].shape[:2], size.stride
    return {
        "size": size,
        "image_size": (rows * height, columns * width),
        "classes": sizes("head/kernel", "_ classes")["classes"],
        "options": {
            "pool": "class_token" if "class_token" in ours else "mean",
            "positions": "learned",
            "pre_logits": sizes("pre_logits/kernel", "_ features")["features"] if "pre_logits/kernel" in ours else 0,
            **NUMERICS,
            **(STEM_NUMERICS if hybrid else {}),
        },
    }
