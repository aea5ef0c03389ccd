"""What masked objectives share: patches cut from pixels, and drawing some of them."""

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Num

from vit_jax.errors import UserError
from vit_jax.models.vit import Vit
from vit_jax.shapes import EachPatch, EachTaken, Parameters, PatchIndices, PatchPixels, TakenIndices

AnyImages = Num[jax.Array, "batch image_height image_width channels"]
MaskEmbedding = Float[jax.Array, " width"]
Predictions = Float[jax.Array, "batch taken numbers"]


def cut(images: AnyImages, patch: tuple[int, int]) -> PatchPixels:
    """Returns the pixels of each patch of (height, width), row by row, as the model orders its patches."""
    height, width = patch
    return einops.rearrange(
        images,
        "batch (rows height) (columns width) channels -> batch (rows columns) (height width) channels",
        height=height,
        width=width,
    )


def count(images: AnyImages, patch: tuple[int, int]) -> int:
    """Returns how many patches an image has."""
    return (images.shape[1] // patch[0]) * (images.shape[2] // patch[1])


def share_of(patches: int, share: float, what: str) -> int:
    """Returns how many of an image's patches make `share` of them, to the nearest.

    Raises:
      UserError: none or all of so few; `what` names the share.
    """
    number = round(share * patches)
    if not 0 < number < patches:
        raise UserError(f"{what} {share} takes {number} of an image's {patches} patches; take some and leave some")
    return number


def random_order(key: jax.Array, batch: int, patches: int) -> PatchIndices:
    """Returns, for each image, its patches in an order of its own; its first n are n patches drawn without return."""
    return jnp.argsort(jax.random.uniform(key, (batch, patches)), axis=1)


def take(values: EachPatch, indices: TakenIndices) -> EachTaken:
    """Returns, for each image, those of its `values` that its `indices` name, in their order."""
    return jax.vmap(lambda each, places: each[places])(values, indices)


def check(model: nn.Module) -> None:
    """Raises UserError if the model is no Vision Transformer, or has parts that no prediction about a patch trains."""
    if not isinstance(model, Vit):
        raise UserError(f"patches are masked in a Vision Transformer; {type(model).__name__} is none")
    made = model.architecture
    if made.pool == "map" or made.pre_logits or made.norm_last == "features":
        raise UserError(
            "predicting patches trains no pool, no pre_logits and no norm of the features; got model.pool "
            f"{made.pool}, model.pre_logits {made.pre_logits}, model.norm_last {made.norm_last}: give "
            '"class_token", "mean" or "none", 0 and "tokens"'
        )


def apply(module: nn.Module, parameters: Parameters, key: jax.Array | None, *inputs: jax.Array) -> Predictions:
    """Returns what `module` predicts; with a `key`, as in training: dropout draws from it."""
    rngs = None if key is None else {"dropout": key}
    predictions = module.apply({"params": parameters}, *inputs, key is not None, rngs=rngs)
    assert isinstance(predictions, jax.Array)  # a tuple only where intermediates were asked for
    return predictions
