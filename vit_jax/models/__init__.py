"""From the `model` section of a config to a model."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vit_jax.errors import UserError, did_you_mean, pick
from vit_jax.models.bit import Bit
from vit_jax.models.heads import POOLS
from vit_jax.models.mlp import ACTIVATIONS
from vit_jax.models.positions import POSITIONS
from vit_jax.models.resnet import STANDARDIZATIONS
from vit_jax.models.sizes import ResNetSize, Size, by_name, by_numbers
from vit_jax.models.vit import Vit
from vit_jax.shapes import Images, Logits, Parameters

FAMILIES: dict[type, Any] = {Size: Vit, ResNetSize: Bit}
OF_STEMS = {"standardization", "stem_norm_epsilon"}  # what a Vit reads only if it is a hybrid
WORDS = {"activation": ACTIVATIONS, "positions": POSITIONS, "pool": POOLS, "standardization": STANDARDIZATIONS}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build(size: str | Mapping[str, Any], classes: int, dtype: str = "float32", **options: Any) -> Vit | Bit:
    """Returns the model that a config names, of the family that has such sizes.

    Args:
      size: a name such as "B/16", "R50+B/16" or "R50x1", or the numbers of a `Size` or a `ResNetSize`.
      classes: how many logits; 0 for a model of features.
      dtype: "float32" or "bfloat16".
      **options: fields of `Vit`, or of `Bit`.

    Raises:
      UserError: an option that the family does not have, or a word that it does not know.
    """
    numbers = by_name(size) if isinstance(size, str) else by_numbers(size, "config.model.size")
    known = options_of(numbers)
    for option in options:
        if option not in known:
            raise UserError(f'config.model reads no "{option}".{did_you_mean(option, known)}')
    for word, table in WORDS.items():
        if word in options:
            pick(table, options[word], word)
    for rate in ("dropout", "stochastic_depth"):
        if not 0 <= options.get(rate, 0) < 1:
            raise UserError(f"model.{rate} is a probability, at least 0 and below 1; got {options[rate]}")
    return FAMILIES[type(numbers)](size=numbers, classes=classes, dtype=pick(DTYPES, dtype, "dtype"), **options)


def options_of(size: Size | ResNetSize) -> list[str]:
    """Returns the fields that a model of this size reads, the stem's only where there is one."""
    fields = [field.name for field in dataclasses.fields(FAMILIES[type(size)])]
    unread = {"parent", "name"} | (OF_STEMS if isinstance(size, Size) and size.stem is None else set())  # Flax's two
    return [name for name in fields if name not in unread]


def initial(model: nn.Module, key: jax.Array, image_size: tuple[int, int]) -> Parameters:
    """Returns the model's parameters drawn from `key`, for RGB images of `image_size` (height, width)."""
    return dict(model.init(key, jnp.zeros((1, *image_size, 3), jnp.float32), False)["params"])


def apply(model: nn.Module, parameters: Parameters, images: Images, key: jax.Array | None = None) -> Logits:
    """Returns the model's logits; with a `key`, as in training: dropout and stochastic depth draw from it."""
    if key is None:
        logits = model.apply({"params": parameters}, images, False)
    else:
        logits = model.apply({"params": parameters}, images, True, rngs={"dropout": key})
    assert isinstance(logits, jax.Array)  # a tuple only where intermediates were asked for
    return logits
