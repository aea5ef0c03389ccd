"""The formats of published weights: who reads a file, and who writes one."""

import dataclasses
import logging
from types import ModuleType

import numpy as np

from vit_jax import models
from vit_jax.errors import UserError, pick
from vit_jax.models import counts
from vit_jax.shapes import Parameters
from vit_jax.weights import adapt, bit, google, timm
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded
from vit_jax.weights.rename import shortened

log = logging.getLogger(__name__)

# Each has recognises(file), load(file) and its inverse, save(loaded).
FORMATS: dict[str, ModuleType] = {"bit": bit, "google": google, "timm": timm}


def of(file: File) -> str:
    """Returns the name of the format that `file` is in; raises UserError if it is in none."""
    name = next((name for name, module in FORMATS.items() if module.recognises(file)), None)
    if name is None:
        raise UserError(
            f"{file.place or 'this file'} is in no format known here ({', '.join(FORMATS)}); it holds "
            f"{shortened(sorted(file.arrays)) or 'nothing'}"
        )
    return name


def load(file: File) -> Loaded:
    """Returns the weights of `file` in our layout, with the recipe that we wrote into it or else its family's.

    Raises:
      UserError: a file in no known format, or whose arrays are not those of the model that it says it is.
    """
    name = of(file)
    loaded = FORMATS[name].load(file)
    if file.recipe:
        loaded = dataclasses.replace(loaded, recipe=dataclasses.replace(file.recipe, origin=loaded.recipe.origin))
    recipe = loaded.recipe
    wanted = counts.shapes(models.build(**recipe.model), recipe.image_size)
    adapt.refuse_misfits(loaded.parameters, wanted)
    if has_zeroed_head(loaded.parameters):
        log.warning("the head of %s is all zeros: fine-tune it before predicting", recipe.source or "this checkpoint")
    return loaded


def save(loaded: Loaded, name: str) -> File:
    """Returns the file of this format that holds these weights, our recipe among its notes.

    Raises:
      UserError: a format there is not, or one that has no place for some of the arrays.
    """
    file = pick(FORMATS, name, "format").save(loaded)
    return dataclasses.replace(file, notes={"recipe": dataclasses.asdict(loaded.recipe), **file.notes})


def has_zeroed_head(parameters: Parameters) -> bool:
    """Returns whether there is a head, of zeros alone: good for fine-tuning, it says nothing about an image."""
    return "head" in parameters and not np.any(parameters["head"]["kernel"])
