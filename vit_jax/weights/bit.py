"""BiT's ResNets as `.npz` files (arXiv 1912.11370; gs://bit_models)."""

import os
import re

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax.errors import UserError
from vit_jax.models.sizes import ResNetSize, numbers_of
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded, refuse_other_kinds
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.rename import Row, to_ours, to_theirs, units_of

ROOT = "resnet/root_block/standardized_conv2d/kernel"  # which tells these files from others

# How the family was trained, which the files do not say: google-research/big_transfer. There are no positions.
NUMERICS = {"standardization": "bit", "norm_epsilon": 1e-5}
MEAN = STD = (0.5, 0.5, 0.5)

# Some files count their convolutions through: standardized_conv2d_17.
# Pre-trained at 224 pixels; fine-tuned at 480, as BiT-HyperRule has it for all but tiny images (bit_hyperrule.py).
NUMBERED = r"(?<=/standardized_conv2d)_\d+(?=/)"
IMAGENET21K, PRETRAINED, FINE_TUNED = 21_843, (224, 224), (480, 480)


def rows(units: tuple[int, ...]) -> tuple[Row, ...]:
    """Returns the table of a ResNet with so many `units` a stage."""
    rows = [
        Row(ROOT, "root/kernel"),
        *_norm("resnet", "norm"),
        Row("resnet/head/conv2d/kernel", "head/kernel", "1 1 features classes -> features classes"),
        Row("resnet/head/conv2d/bias", "head/bias"),
    ]
    for stage, count in enumerate(units, 1):
        for unit in range(1, count + 1):
            theirs, ours = f"resnet/block{stage}/unit{unit:02}", f"stage{stage}/unit{unit:02}"
            for layer, letter in enumerate("abc", 1):
                rows.append(Row(f"{theirs}/{letter}/standardized_conv2d/kernel", f"{ours}/conv{layer}/kernel"))
                rows += _norm(f"{theirs}/{letter}", f"{ours}/norm{layer}")
            if unit == 1:
                rows.append(Row(f"{theirs}/a/proj/standardized_conv2d/kernel", f"{ours}/projection/kernel"))
    return tuple(rows)


def _norm(theirs: str, ours: str) -> list[Row]:
    return [
        Row(f"{theirs}/group_norm/gamma", f"{ours}/scale"),
        Row(f"{theirs}/group_norm/beta", f"{ours}/bias"),
    ]


def recognises(file: File) -> bool:
    """Returns whether `file` is one of these."""
    return ROOT in file.arrays


def load(file: File) -> Loaded:
    """Returns the weights in our layout with all that is known about them.

    Some files were published with convolutions that are numbered through, and are read as if they were not.

    Raises:
      UserError: names or shapes of another family, or arrays that are not floats.
    """
    refuse_other_kinds(file.arrays)
    plain = {name: re.sub(NUMBERED, "", name) for name in file.arrays}
    numbered = {ours: theirs for theirs, ours in plain.items() if theirs != ours}
    arrays = {plain[name]: array for name, array in file.arrays.items()}
    units = units_of(arrays, r"resnet/block(\d)/unit(\d{2})/.*")
    ours = {name: np.asarray(array, np.float32) for name, array in to_ours(arrays, rows(units)).items()}
    root, head = ours["root/kernel"], ours["head/kernel"]
    if root.ndim != 4:
        raise UserError(f"{ROOT} has shape {root.shape}, wanted (7, 7, 3, width); is the file damaged?")
    size, classes = ResNetSize(units, root.shape[-1]), head.shape[-1]
    recipe = Recipe(
        model={"size": numbers_of(size), "classes": classes, **NUMERICS},
        image_size=PRETRAINED if classes == IMAGENET21K else FINE_TUNED,
        mean=MEAN,
        std=STD,
        preprocess={"kind": "squash"},
        loss="softmax",
        class_names=(),
        position_resize="linear",  # of which there are none
        source=os.path.basename(file.place),
        license="Apache-2.0",
        origin={"format": "bit"} | ({"names": numbered} if numbered else {}),
    )
    return Loaded(unflatten_dict(ours, sep="/"), recipe)


def save(loaded: Loaded) -> File:
    """Returns the file that Google would have published: the exact inverse of `load`."""
    ours = {name: np.asarray(array) for name, array in flatten_dict(loaded.parameters, sep="/").items()}
    arrays = to_theirs(ours, rows(units_of(ours, r"stage(\d)/unit(\d{2})/.*")))
    numbered = loaded.recipe.origin.get("names", {})
    return File({numbered.get(name, name): array for name, array in arrays.items()})
