"""BiT's ResNets as `.npz` files (arXiv 1912.11370; gs://bit_models)."""

import re

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax.errors import UserError
from vit_jax.models.sizes import ResNetSize
from vit_jax.shapes import Parameters
from vit_jax.weights.loaded import Loaded, is_zeroed, refuse_other_kinds
from vit_jax.weights.rename import Arrays, Row, to_ours, to_theirs, units_of

ROOT = "resnet/root_block/standardized_conv2d/kernel"  # which tells these files from others

# How the family was trained, which the files do not say: google-research/big_transfer. There are no positions.
NUMERICS = {"standardization": "bit", "norm_epsilon": 1e-5}
RECIPE = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "position_resize": "linear"}

# Pre-trained at 224 pixels; fine-tuned at 480, as BiT-HyperRule has it for all but tiny images (bit_hyperrule.py).
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


def load(arrays: Arrays) -> Loaded:
    """Returns the weights in our layout with all that is known about them.

    Args:
      arrays: the file, as `files.read_npz` returns it; some were published with convolutions that are numbered
        through, and are read as if they were not.

    Raises:
      UserError: names or shapes of another family, or arrays that are not floats.
    """
    refuse_other_kinds(arrays)
    arrays = {re.sub(r"/standardized_conv2d_\d+/", "/standardized_conv2d/", name): a for name, a in arrays.items()}
    units = units_of(arrays, r"resnet/block(\d)/unit(\d{2})/.*")
    ours = {name: np.asarray(array, np.float32) for name, array in to_ours(arrays, rows(units)).items()}
    root, head = ours["root/kernel"], ours["head/kernel"]
    if root.ndim != 4:
        raise UserError(f"{ROOT} has shape {root.shape}, wanted (7, 7, 3, width); is the file damaged?")
    return Loaded(
        unflatten_dict(ours, sep="/"),
        size=ResNetSize(units, root.shape[-1]),
        classes=head.shape[-1],
        options=NUMERICS,
        image_size=PRETRAINED if head.shape[-1] == IMAGENET21K else FINE_TUNED,
        zeroed_head=is_zeroed(head),
        **RECIPE,
    )


def save(parameters: Parameters) -> dict[str, np.ndarray]:
    """Returns `parameters` as Google published such: the exact inverse of `load`."""
    ours = {name: np.asarray(array) for name, array in flatten_dict(parameters, sep="/").items()}
    return to_theirs(ours, rows(units_of(ours, r"stage(\d)/unit(\d{2})/.*")))
