"""Fits weights to a task: a new head, positions for another image size; the rest must be the same model."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax.errors import pick
from vit_jax.models.positions import resize
from vit_jax.shapes import Parameters, PyTree
from vit_jax.weights import patches
from vit_jax.weights.rename import refuse

# What reads the features. A model that is built without them, or without pre_logits, does without.
HEADS = ("head/", "head_distillation/")
EMBEDDING = "patch_embedding/kernel"


def fit(
    parameters: Parameters, target: PyTree, kernel: str, new_head: bool = False, patch_resize: str = ""
) -> Parameters:
    """Returns `parameters` in the shapes of `target` (paper, section 3.2).

    `pre_logits` and head go where the target has none. The head is the target's own where the numbers of classes
    differ, where `pre_logits` went (it read other features) or where `new_head` asks for it. The grid of positions is
    resized where the target's differs, and the patch embedding where the weights are for patches of any size.

    Args:
      parameters: nested dict of arrays in our layout.
      target: nested dict of the model's initial arrays, or of their `jax.ShapeDtypeStruct`, whose new head is zeros.
      kernel: name in models.positions.RESIZE; it belongs to the weights' family.
      new_head: take the target's head even if the weights have one of the same shape.
      patch_resize: name in weights.patches.RESIZE; "" refuses patches of another size.

    Raises:
      UserError: everything that does not fit otherwise, in one message.
    """
    came, wanted = _flat(parameters), _flat(target)
    new_head |= "pre_logits/kernel" in came and "pre_logits/kernel" not in wanted
    came = {
        name: array for name, array in came.items() if name in wanted or not name.startswith(("pre_logits/", *HEADS))
    }
    if new_head or _classes(came) not in (None, _classes(wanted)):
        came |= {name: _own(leaf) for name, leaf in wanted.items() if name.startswith(HEADS)}
    grid, place = came.get("positions/grid"), wanted.get("positions/grid")
    if grid is not None and place is not None and grid.shape[2:] == place.shape[2:]:
        came["positions/grid"] = resize(jnp.asarray(grid), place.shape[:2], kernel)
    embedding, wanted_embedding = came.get(EMBEDDING), wanted.get(EMBEDDING)
    if patch_resize and embedding is not None and wanted_embedding is not None:
        change = pick(patches.RESIZE, patch_resize, "way to resize patches")
        came[EMBEDDING] = change(np.asarray(embedding), wanted_embedding.shape[:2])

    refuse_misfits(came, wanted)
    return unflatten_dict({name: np.asarray(came[name], leaf.dtype) for name, leaf in wanted.items()}, sep="/")


def refuse_misfits(parameters: PyTree, target: PyTree) -> None:
    """Raises UserError, everything in one message, if `parameters` have not the names and the shapes of `target`."""
    came, wanted = _flat(parameters), _flat(target)
    refuse(
        "these weights are not the model's",
        {
            "the model has no": [name for name in came if name not in wanted],
            "the weights lack": [name for name in wanted if name not in came],
            "of another shape": [
                f"{name} came {came[name].shape}, wanted {leaf.shape}"
                for name, leaf in wanted.items()
                if name in came and came[name].shape != leaf.shape
            ],
        },
        "Build the model with the options of the weights (size, pool, positions, pre_logits), ask for new_head=True "
        "if only the head differs, or choose other weights.",
    )


def _flat(tree: PyTree) -> dict[str, Any]:
    return cast(dict[str, Any], flatten_dict(tree, sep="/"))  # with a separator the keys are words


def _classes(flat: dict[str, Any]) -> int | None:
    return flat["head/kernel"].shape[-1] if "head/kernel" in flat else None


def _own(leaf: Any) -> np.ndarray:
    return np.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else np.asarray(leaf)
