"""Google's Vision Transformers and hybrids as `.npz` files: the paper's, AugReg's, SAM's and LiT's (gs://vit_models)."""

import dataclasses
import os
import re
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax.errors import pick
from vit_jax.weights import facts, nesting, positions, unsaid
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded, as_published, odd_dtypes, refuse_other_kinds
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.rename import Arrays, Row, to_ours, to_theirs, units_of

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
# AugReg pre-trained by sigmoid: on ImageNet-21k, which its count of classes tells, and on ImageNet-1k, which only the
# name of a file tells; what was fine-tuned has "--" and its task there (big_vision: configs/vit_i21k.py, vit_i1k.py).
IMAGENET21K = 21_843  # classes
IMAGENET1K = r"(?!.*--).*-i1k-.*"

# Group norms were published as Flax made them before 0.3.6, with the axes of a map (google/flax issue 1721).
NORMS = {"published": "1 1 1 channels -> channels", "flat": None}


def rows(numbering: str, place: str = POSITIONS) -> tuple[Row, ...]:
    """Returns the table of a Vision Transformer, the stem of a hybrid left out.

    Args:
      numbering: one of the NUMBERINGS.
      place: the name of the table of positions.
    """
    attention, norm_mlp, mlp = pick(NUMBERINGS, numbering, "numbering")
    theirs, ours = "Transformer/encoderblock_*", "encoder/block*"
    return (
        *dense("embedding", "patch_embedding"),
        Row("cls", "class_token", "1 count width -> count width", optional=True),
        Row(place, "positions/table", "1 tokens width -> tokens width", optional=True),
        *norm(f"{theirs}/LayerNorm_0", f"{ours}/norm_attention"),
        *dense(f"{theirs}/{attention}/query", f"{ours}/attention/query"),
        *dense(f"{theirs}/{attention}/key", f"{ours}/attention/key"),
        *dense(f"{theirs}/{attention}/value", f"{ours}/attention/value"),
        *dense(f"{theirs}/{attention}/out", f"{ours}/attention/out"),
        *norm(f"{theirs}/{norm_mlp}", f"{ours}/norm_mlp"),
        *dense(f"{theirs}/{mlp}/Dense_0", f"{ours}/mlp/hidden"),
        *dense(f"{theirs}/{mlp}/Dense_1", f"{ours}/mlp/out"),
        *norm("Transformer/encoder_norm", "encoder/norm"),
        *dense("pre_logits", "pre_logits", optional=True),
        *dense("head", "head", optional=True),
    )


def stem_rows(units: tuple[int, ...], pattern: str | None = NORMS["published"]) -> tuple[Row, ...]:
    """Returns the table of a hybrid's stem of so many `units` a stage; `pattern` is that of its norms'."""
    rows = [Row("conv_root/kernel", "stem/root/kernel"), *norm("gn_root", "stem/root_norm", pattern)]
    for stage, count in enumerate(units, 1):
        for unit in range(1, count + 1):
            theirs, ours = f"block{stage}/unit{unit}", f"stem/stage{stage}/unit{unit:02}"
            for layer in (1, 2, 3):
                rows.append(Row(f"{theirs}/conv{layer}/kernel", f"{ours}/conv{layer}/kernel"))
                rows += norm(f"{theirs}/gn{layer}", f"{ours}/norm{layer}", pattern)
            if unit == 1:
                rows.append(Row(f"{theirs}/conv_proj/kernel", f"{ours}/projection/kernel"))
                rows += norm(f"{theirs}/gn_proj", f"{ours}/projection_norm", pattern)
    return tuple(rows)


def dense(theirs: str, ours: str, optional: bool = False) -> list[Row]:
    """Returns the rows of a dense layer."""
    return [Row(f"{theirs}/{leaf}", f"{ours}/{leaf}", optional=optional) for leaf in ("kernel", "bias")]


def norm(theirs: str, ours: str, pattern: str | None = None) -> list[Row]:
    """Returns the rows of a norm."""
    return [Row(f"{theirs}/{leaf}", f"{ours}/{leaf}", pattern) for leaf in ("scale", "bias")]


def recognises(file: File) -> bool:
    """Returns whether `file` is one of these: big_vision's later names have no "posembed_input"."""
    return f"{nesting.prefix(file.arrays) or ''}{POSITIONS}" in file.arrays


def numbering_of(arrays: Arrays) -> str:
    """Returns how the submodules of a block are numbered in a file."""
    return "linen" if any("encoderblock" in name and "/MlpBlock_0/" in name for name in arrays) else "original"


def load(file: File) -> Loaded:
    """Returns the weights in our layout with all that is known about them.

    Raises:
      UserError: names or shapes of another family, arrays that are not floats, positions off the grid.
    """
    prefix, arrays, aside = nesting.encoder(file)
    refuse_other_kinds(arrays)
    origin = {"format": "google", "numbering": numbering_of(arrays)}
    table, hybrid = rows(origin["numbering"]), "conv_root/kernel" in arrays
    if hybrid:
        if "gn_root/scale" in arrays and arrays["gn_root/scale"].ndim == 1:
            origin["norms"] = "flat"
        table += stem_rows(units_of(arrays, r"block(\d)/unit(\d{1,2})/.*"), NORMS[origin.get("norms", "published")])
    ours = to_ours(arrays, table)
    positions.unfold(ours, file.recipe.image_size if file.recipe else None)
    ours = {name: np.asarray(array, np.float32) for name, array in ours.items()}
    details = {"prefix": prefix, "left_aside": aside, "dtypes": odd_dtypes(arrays)}
    name = os.path.basename(file.place)
    recipe = Recipe(
        model=understood(ours),
        image_size=facts.image_size(ours),
        mean=MEAN,
        std=STD,
        preprocess={"kind": "squash"},
        loss=loss(ours, prefix, name),
        class_names=(),
        position_resize="linear_align_corners",
        source=name,
        license="Apache-2.0",
        origin=origin | {name: value for name, value in details.items() if value},
    )
    return Loaded(unflatten_dict(ours, sep="/"), recipe)


def loss(ours: Arrays, prefix: str, name: str = "") -> str:
    """Returns what the head in a file of this `name` was trained with; beside a text encoder it tells no classes."""
    if prefix.endswith(nesting.IMAGE) or "head/kernel" not in ours:
        return ""
    classes = facts.axes(ours, "head/kernel", "_ classes")["classes"]
    return "sigmoid" if classes == IMAGENET21K or re.fullmatch(IMAGENET1K, name) else "softmax"


def understood(ours: Arrays) -> dict[str, Any]:
    """Returns the options of `models.build` that people understand who have these arrays and know the family."""
    return facts.model_options(ours) | NUMERICS | (STEM_NUMERICS if "stem/root/kernel" in ours else {})


def save(loaded: Loaded) -> File:
    """Returns the file that Google would have published: the exact inverse of `load`, but for what was left aside.

    Weights of other families too: a class token without a position gets one of zeros.

    Raises:
      UserError: a model that such files cannot express.
    """
    origin = loaded.recipe.origin if loaded.recipe.origin.get("format") == "google" else {}
    loaded = positions.of_zeros(loaded)
    ours = {name: np.asarray(array) for name, array in flatten_dict(loaded.parameters, sep="/").items()}
    unsaid.check(loaded.recipe.model, understood(ours), "google")
    positions.fold(ours)
    hybrid = "stem/root/kernel" in ours
    stem = stem_rows(units_of(ours, facts.UNITS), NORMS[origin.get("norms", "published")]) if hybrid else ()
    arrays = to_theirs(ours, rows(origin.get("numbering", "original")) + stem)
    arrays = {f"{origin.get('prefix', '')}{name}": array for name, array in as_published(arrays, origin).items()}
    return File(arrays, notes={"recipe": dataclasses.asdict(loaded.recipe)})
