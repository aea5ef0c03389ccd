"""Google's Vision Transformers as `.npz` files: the paper's, AugReg's and SAM's (gs://vit_models)."""

import logging
from collections.abc import Mapping

import einops
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax.errors import UserError, pick
from vit_jax.models.sizes import Size
from vit_jax.shapes import Parameters
from vit_jax.weights.loaded import Loaded
from vit_jax.weights.rename import Arrays, Row, refuse, split_positions, to_ours, to_theirs

# Submodules were counted through a block before Flax linen ("original", all published files), class by class since.
# LayerNorm_0 comes before attention in both; (attention, norm before the MLP, MLP):
NUMBERINGS = {
    "original": ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"),
    "linen": ("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"),
}

# How the family was trained, which the files do not say: google-research/vision_transformer at c6de1e5.
RECIPE = {
    "activation": "gelu_tanh",
    "norm_epsilon": 1e-6,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "position_resize": "linear_align_corners",
}


def rows(numbering: str) -> tuple[Row, ...]:
    """Returns the table of a plain Vision Transformer (no hybrid) in one of the NUMBERINGS."""
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


def _dense(theirs: str, ours: str, optional: bool = False) -> list[Row]:
    return [Row(f"{theirs}/{leaf}", f"{ours}/{leaf}", optional=optional) for leaf in ("kernel", "bias")]


def _norm(theirs: str, ours: str) -> list[Row]:
    return [Row(f"{theirs}/{leaf}", f"{ours}/{leaf}") for leaf in ("scale", "bias")]


def load(arrays: Arrays, grid: tuple[int, int] | None = None) -> Loaded:
    """Returns the weights in our layout with all that is known about them.

    Args:
      arrays: the file, as `files.read_npz` returns it.
      grid: (rows, columns) of patches that the positions were learned on; None for a square, as all published ones.

    Raises:
      UserError: a hybrid, names or shapes of another family, arrays that are not floats, positions off the grid.
    """
    if "conv_root/kernel" in arrays:
        raise UserError(
            'hybrid checkpoints (with "conv_root", a ResNet below the Transformer) are not supported yet; '
            "choose a plain one such as ViT-B_16"
        )
    odd = [f"{name} {array.dtype}" for name, array in arrays.items() if array.dtype.kind != "f"]
    refuse("weights are arrays of floats", {"of another kind": odd}, "Choose a checkpoint saved as float32.")

    numbering = "linen" if any("/MlpBlock_0/" in name for name in arrays) else "original"
    ours = to_ours(arrays, rows(numbering))
    prefix = 1 if "class_token" in ours else 0
    prefixes, ours["positions/grid"] = split_positions(ours.pop("positions/table"), prefix, grid)
    if prefix:
        ours["positions/prefix"] = prefixes
    ours = {name: np.asarray(array, np.float32) for name, array in ours.items()}

    zeroed_head = not ours["head/kernel"].any()
    if zeroed_head:
        logging.getLogger(__name__).warning("the head of this checkpoint is all zeros: fine-tune it before predicting")
    return Loaded(unflatten_dict(ours, sep="/"), zeroed_head=zeroed_head, **_facts(ours), **RECIPE)


def save(parameters: Parameters, numbering: str = "original") -> dict[str, np.ndarray]:
    """Returns `parameters` as Google would have written them: the exact inverse of `load`."""
    ours = {name: np.asarray(array) for name, array in flatten_dict(parameters, sep="/").items()}
    table = einops.rearrange(ours.pop("positions/grid"), "rows columns width -> (rows columns) width")
    ours["positions/table"] = np.concatenate([ours.pop("positions/prefix", table[:0]), table])
    return to_theirs(ours, rows(numbering))


def _facts(ours: Mapping[str, np.ndarray]) -> dict[str, object]:
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
    return {
        "size": Size(
            width=query["width"],
            depth=sum(name.endswith("/norm_mlp/scale") for name in ours),
            mlp_hidden=sizes("encoder/block00/mlp/hidden/kernel", "_ hidden")["hidden"],
            heads=query["heads"],
            patch=(patch["height"], patch["width"]),
        ),
        "grid": ours["positions/grid"].shape[:2],
        "classes": sizes("head/kernel", "_ classes")["classes"],
        "pool": "class_token" if "class_token" in ours else "mean",
        "pre_logits": sizes("pre_logits/kernel", "_ features")["features"] if "pre_logits/kernel" in ours else 0,
    }
