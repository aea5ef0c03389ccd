"""Google's Vision Transformers and hybrids as `.npz` files: the paper's, AugReg's and SAM's (gs://vit_models)."""

import os

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax.errors import pick
from vit_jax.weights import facts, positions
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded, as_published, odd_dtypes, refuse_other_kinds
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.rename import Row, to_ours, to_theirs, units_of

POSITIONS = "Transformer/posembed_input/pos_embedding"

# Submodules were counted through a block before Flax linen ("original", all published files), class by class since.
# LayerNorm_0 comes before attention in both; (attention, norm before the MLP, MLP):
NUMBERINGS = {
    "original": ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"),
    "linen": ("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"),
}

# How the family was trained, which the files do not say: google-research/vision_transformer at c6de1e5.
NUMERICS = {"activation": "gelu_tanh", "norm_epsilon": 1e-6}
STEM_NUMERICS = {"standardization": "google", "stem_norm_epsilon": 1e-6}
MEAN = STD = (0.5, 0.5, 0.5)

# Group norms were published as Flax made them before 0.3.6, with the axes of a map (google/flax issue 1721).
NORMS = {"published": "1 1 1 channels -> channels", "flat": None}


def rows(numbering: str) -> tuple[Row, ...]:
    """Returns the table of a Vision Transformer, the stem of a hybrid left out, in one of the NUMBERINGS."""
    attention, norm_mlp, mlp = pick(NUMBERINGS, numbering, "numbering")
    theirs, ours = "Transformer/encoderblock_*", "encoder/block*"
    return (
        *_dense("embedding", "patch_embedding"),
        Row("cls", "class_token", "1 count width -> count width", optional=True),
        Row(POSITIONS, "positions/table", "1 tokens width -> tokens width"),
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


def stem_rows(units: tuple[int, ...], norm: str | None = NORMS["published"]) -> tuple[Row, ...]:
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


def recognises(file: File) -> bool:
    """Returns whether `file` is one of these: big_vision's later names have no "posembed_input"."""
    return POSITIONS in file.arrays


def load(file: File) -> Loaded:
    """Returns the weights in our layout with all that is known about them.

    Raises:
      UserError: names or shapes of another family, arrays that are not floats, positions off the grid.
    """
    arrays = file.arrays
    refuse_other_kinds(arrays)
    numbering = "linen" if any("/MlpBlock_0/" in name for name in arrays) else "original"
    origin = {"format": "google", "numbering": numbering}
    table, hybrid = rows(numbering), "conv_root/kernel" in arrays
    if hybrid:
        if "gn_root/scale" in arrays and arrays["gn_root/scale"].ndim == 1:
            origin["norms"] = "flat"
        table += stem_rows(units_of(arrays, r"block(\d)/unit(\d{1,2})/.*"), NORMS[origin.get("norms", "published")])
    ours = to_ours(arrays, table)
    positions.unfold(ours, file.recipe.image_size if file.recipe else None)
    dtypes = odd_dtypes(arrays)
    ours = {name: np.asarray(array, np.float32) for name, array in ours.items()}
    recipe = Recipe(
        model=facts.model_options(ours) | NUMERICS | (STEM_NUMERICS if hybrid else {}),
        image_size=facts.image_size(ours),
        mean=MEAN,
        std=STD,
        preprocess={"kind": "squash"},
        loss="softmax",
        class_names=(),
        position_resize="linear_align_corners",
        source=os.path.basename(file.place),
        license="Apache-2.0",
        origin=origin | ({"dtypes": dtypes} if dtypes else {}),
    )
    return Loaded(unflatten_dict(ours, sep="/"), recipe)


def save(loaded: Loaded) -> File:
    """Returns the file that Google would have published: the exact inverse of `load`."""
    origin = loaded.recipe.origin if loaded.recipe.origin.get("format") == "google" else {}
    ours = {name: np.asarray(array) for name, array in flatten_dict(loaded.parameters, sep="/").items()}
    positions.fold(ours)
    hybrid = "stem/root/kernel" in ours
    stem = stem_rows(units_of(ours, facts.UNITS), NORMS[origin.get("norms", "published")]) if hybrid else ()
    arrays = to_theirs(ours, rows(origin.get("numbering", "original")) + stem)
    return File(as_published(arrays, origin))
