"""The one line: from a name to a model, its weights, and all that one must know to use them."""

import dataclasses
import fnmatch
import os
from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts
from vit_jax.shapes import Parameters
from vit_jax.train import start
from vit_jax.weights import adapt, names
from vit_jax.weights.recipe import Recipe


def load(
    name: str | os.PathLike[str],
    classes: int | None = None,
    image_size: int | Sequence[int] | None = None,
    **options: Any,
) -> tuple[nn.Module, Parameters, Recipe]:
    """Returns a model, its parameters, and its recipe: the range of its pixels, how images are cut for it, its classes.

    `vit_jax.load("timm:vit_base_patch16_224.augreg_in21k", classes=10, image_size=384)` is ready to be fine-tuned.

    Args:
      name: of published weights, as `list_models` has them, or a path: of a file, a folder, a run.
      classes: how many the model is to tell apart; it gets a head of zeros for them, in place of its own (arXiv
        2010.11929, section 3.2). 0 for a model of features. By default the head that it has.
      image_size: in pixels, one number or (height, width), to which positions are resized as the recipe says. By
        default the one that it was trained on.
      **options: of `models.build` besides, such as dropout, or dtype="bfloat16".

    Raises:
      UserError: a name of nothing, files that do not come or are not good, or a model that these weights do not fit.
    """
    trained = start.trained(os.fspath(name))
    recipe = trained.recipe
    if classes is None and image_size is None and not options:
        return trained.model, trained.parameters, recipe
    model = recipe.model | options
    if classes is not None:
        model = {option: value for option, value in model.items() if option != "pre_logits" or option in options}
        model["classes"] = classes
    size = recipe.image_size if image_size is None else image_size
    size = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise UserError(f"image_size is one number, or (height, width), in pixels; got {image_size}")
    recipe = dataclasses.replace(recipe, model=model, image_size=size, source=f"from {recipe.source}")
    if classes is not None:
        recipe = dataclasses.replace(recipe, class_names=(), loss="softmax" if classes else "")
    built = models.build(**model)
    target = counts.shapes(built, recipe.image_size)
    new_head = classes is not None
    parameters = adapt.fit(trained.parameters, target, recipe.position_resize, new_head, recipe.patch_resize)
    return built, parameters, recipe


def list_models(pattern: str = "*") -> list[str]:
    """Returns the names of published weights that a pattern fits, sorted; `load` takes others of their kind as well.

    >>> list_models("google:sam/*")
    ['google:sam/ViT-B_16', 'google:sam/ViT-B_32']
    """
    return fnmatch.filter(names.published(), pattern)
