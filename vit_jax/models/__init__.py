"""From the `model` section of a config to a model."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vit_jax.errors import UserError, construct, did_you_mean, pick
from vit_jax.models.heads import POOLS
from vit_jax.models.mlp import ACTIVATIONS
from vit_jax.models.positions import POSITIONS
from vit_jax.models.sizes import Size, by_name
from vit_jax.models.vit import Vit
from vit_jax.shapes import Images, Logits, Parameters

OPTIONS = [field.name for field in dataclasses.fields(Vit) if field.name not in ("parent", "name")]  # Flax's own two
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build(size: str | Mapping[str, Any], classes: int, dtype: str = "float32", **options: Any) -> Vit:
    """Returns the model that a config names; `size` is a name such as "B/16" or the numbers of a `Size`.

    Raises:
      UserError: an option that `Vit` does not have, or a word that it does not know.
    """
    for word, table in (("activation", ACTIVATIONS), ("positions", POSITIONS), ("pool", POOLS)):
        if word in options:
            pick(table, options[word], word)
    for rate in ("dropout", "stochastic_depth"):
        if not 0 <= options.get(rate, 0) < 1:
            raise UserError(f"model.{rate} is a probability, at least 0 and below 1; got {options[rate]}")
    if isinstance(size, str):
        numbers = by_name(size)
    else:
        patch = tuple(size.get("patch", ()))
        if len(patch) != 2:
            raise UserError(f"config.model.size.patch is (height, width) in pixels; got {patch}")
        numbers = construct(Size, "config.model.size", **{**size, "patch": patch})
    for option in options:
        if option not in OPTIONS:
            raise UserError(f'config.model reads no "{option}".{did_you_mean(option, OPTIONS)}')
    return Vit(size=numbers, classes=classes, dtype=pick(DTYPES, dtype, "dtype"), **options)


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
