"""From the `model` section of a config to a model."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.core import Tracer

from vit_jax.errors import UserError, construct, did_you_mean, pick
from vit_jax.models import value_range
from vit_jax.models.architecture import Architecture
from vit_jax.models.bit import Bit
from vit_jax.models.resnet import STANDARDIZATIONS
from vit_jax.models.sizes import ResNetSize, Size, by_name, by_numbers
from vit_jax.models.vit import Vit
from vit_jax.shapes import Images, Logits, Parameters

FAMILIES: dict[type, Any] = {Size: Vit, ResNetSize: Bit}
CHOICES = [field.name for field in dataclasses.fields(Architecture)]
OF_STEMS = {"standardization", "stem_norm_epsilon"}  # what a Vit reads only if it is a hybrid
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build(size: str | Mapping[str, Any], classes: int, dtype: str = "float32", **options: Any) -> Vit | Bit:
    """Returns the model that a config names, of the family that has such sizes.

    Args:
      size: a name such as "B/16", "R50+B/16" or "R50x1", or the numbers of a `Size` or a `ResNetSize`.
      classes: how many logits; 0 for a model of features.
      dtype: "float32" or "bfloat16".
      **options: fields of `Vit` and of its `Architecture`, or of `Bit`.

    Raises:
      UserError: an option that the family does not have, or a word or a number that it does not know.
    """
    if not isinstance(classes, int) or classes < 0:
        raise UserError(f"classes is how many there are, a whole number, at least 0; got {classes!r}")
    numbers = by_name(size) if isinstance(size, str) else by_numbers(size, "config.model.size")
    known = options_of(numbers)
    for option in options:
        if option not in known:
            raise UserError(f'config.model reads no "{option}".{did_you_mean(option, known)}')
    for rate in ("dropout", "stochastic_depth"):
        if not 0 <= options.get(rate, 0) < 1:
            raise UserError(f"model.{rate} is a probability, at least 0 and below 1; got {options[rate]}")
    if isinstance(numbers, Size):
        choices = {name: options.pop(name) for name in CHOICES if name in options}
        options["architecture"] = construct(Architecture, "config.model", **choices)
    else:
        pick(STANDARDIZATIONS, options.get("standardization", "bit"), "standardization")
    return FAMILIES[type(numbers)](size=numbers, classes=classes, dtype=pick(DTYPES, dtype, "dtype"), **options)


def options_of(size: Size | ResNetSize) -> list[str]:
    """Returns what `build` reads for a model of this size, a stem's choices only where there is one."""
    fields = [field.name for field in dataclasses.fields(FAMILIES[type(size)])]
    unread = {"parent", "name", "architecture"}  # the first two are Flax's
    if isinstance(size, Size):
        fields += [name for name in CHOICES if size.stem or name not in OF_STEMS]
    return [name for name in fields if name not in unread]


def option(model: nn.Module, name: str) -> Any:
    """Returns what `build` was given, or took, as the option `name`."""
    return getattr(model.architecture if isinstance(model, Vit) and name in CHOICES else model, name)


def initial(model: nn.Module, key: jax.Array, image_size: tuple[int, int]) -> Parameters:
    """Returns the model's parameters drawn from `key`, for RGB images of `image_size` (height, width)."""
    return dict(model.init(key, jnp.zeros((1, *image_size, 3), jnp.float32), False)["params"])


def apply(model: nn.Module, parameters: Parameters, images: Images, key: jax.Array | None = None) -> Logits:
    """Returns the model's logits; with a `key`, as in training: dropout and stochastic depth draw from it.

    Images that are values, not traced, are looked at: a value range that does not fit is said in the log.
    """
    if not isinstance(images, Tracer):
        value_range.look(images)
    if key is None:
        logits = model.apply({"params": parameters}, images, False)
    else:
        logits = model.apply({"params": parameters}, images, True, rngs={"dropout": key})
    assert isinstance(logits, jax.Array)  # a tuple only where intermediates were asked for
    return logits
