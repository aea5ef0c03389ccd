"""timm's Vision Transformers and hybrids: DeiT, DINO, MAE, CLIP, SigLIP, EVA-02, DINOv3 as it holds them."""

import dataclasses
import logging
import os
import re
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax.errors import UserError
from vit_jax.weights import facts, norms, positions
from vit_jax.weights.files import File
from vit_jax.weights.google import IMAGENET21K
from vit_jax.weights.loaded import Loaded, as_published, odd_dtypes, refuse_other_kinds
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.rename import Arrays, refuse, shortened, to_ours, to_theirs, units_of
from vit_jax.weights.timm import architectures, bare, config, rows
from vit_jax.weights.timm.config import Described

log = logging.getLogger(__name__)

RELATIVE = r".*relative_position_bias_table"


def recognises(file: File) -> bool:
    """Returns whether `file` has timm's names, or those that timm reads as its own."""
    return bare.recognises(file.arrays)


def load(file: File) -> Loaded:
    """Returns the weights in our layout with all that is known about them.

    Raises:
      UserError: an architecture that is not expressed here, names or shapes of another one, arrays that are not floats.
    """
    if any(re.fullmatch(RELATIVE, name) for name in file.arrays):
        raise UserError(
            f"{file.place or 'this file'} has relative position biases, as BEiT has, which no model here computes with"
        )
    refuse_other_kinds(file.arrays)
    aside = bare.aside(file.arrays)
    if aside:
        log.warning("%s: only the encoder is read, not %s", file.place or "this file", shortened(aside))
    arrays, alone = bare.plain(file.arrays), "architecture" not in file.config
    said = config.read(bare.config(file.arrays, file.place) if alone else file.config)
    table = rows.rows(rows.forms_of(arrays))
    if any(name.startswith(rows.STEM) for name in arrays):
        table += rows.stem_rows(units_of(arrays, rows.UNITS))
    ours = to_ours(arrays, table, rows.sizes(said.heads))
    if "positions/table" in ours:
        positions.unfold(ours, _trained_on(ours, said.image_size))
    dtypes = odd_dtypes(arrays)
    ours = {name: np.asarray(array, np.float32) for name, array in ours.items()}
    model = {**facts.model_options(ours), "class_token": "class_token" in ours, **said.told}
    _refuse_another(model, said)
    recipe = Recipe(
        model=model,
        image_size=facts.image_size(ours) if "positions/grid" in ours else _whole_patches(ours, said.image_size),
        loss=_loss(said, model["classes"]),
        position_resize=bare.position_resize(said.model.name, said.kept.get("tag", "")) if alone else "cubic",
        source=os.path.basename(file.place if alone else os.path.dirname(file.place)),
        origin={"format": "timm", "architecture": said.model.name, "kept": dict(said.kept)}
        | ({"dtypes": dtypes} if dtypes else {}),
        **said.recipe,
    )
    return Loaded(unflatten_dict(ours, sep="/"), recipe)


def save(loaded: Loaded) -> File:
    """Returns the file, with its config, that timm reads strictly: the inverse of `load`.

    Weights from elsewhere go under the name of the architecture that is nearest, and the arguments that it takes.

    Raises:
      UserError: no architecture of timm's computes what these weights compute.
    """
    ours = {name: np.asarray(array) for name, array in flatten_dict(loaded.parameters, sep="/").items()}
    recipe = loaded.recipe
    if "registers" in ours and "distillation_token" not in ours and "positions/prefix" in ours:
        ours["class_token"] = ours["class_token"] + ours.pop("positions/prefix")  # as timm itself reads DINOv2
        recipe = dataclasses.replace(recipe, model=recipe.model | {"positions": "learned_patches"})
    origin = recipe.origin if recipe.origin.get("format") == "timm" else {}
    if not origin:
        options, moved = norms.moved(recipe.model, ours, "tokens")  # as all class tokens of timm's have it
        recipe, ours = dataclasses.replace(recipe, model=dict(options)), dict(moved)
    model = architectures.named(origin["architecture"]) if origin else None
    arguments, unset = model.arguments(recipe.model) if model else ({}, [])
    if model is None or unset:
        model, arguments = architectures.closest(recipe.model, recipe.image_size)
    if "positions/grid" in ours:
        positions.fold(ours)
    table = rows.rows(model.forms)
    if "stem/root/kernel" in ours:
        table += rows.stem_rows(units_of(ours, facts.UNITS))
    arrays = to_theirs(ours, table, rows.sizes(facts.size(ours).heads))
    notes = {"recipe": dataclasses.asdict(recipe)}
    return File(as_published(arrays, origin), config.written(model, arguments, recipe), notes=notes)


def _loss(said: Described, classes: int) -> str:
    """Returns what the head was trained with: Google's own by sigmoid; CLIP's projection tells no classes."""
    if not classes or architectures.is_projection(said.model.name, said.kept.get("tag", ""), classes):
        return ""
    return "sigmoid" if classes == IMAGENET21K else "softmax"


def _trained_on(ours: Arrays, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Returns the size of the images if the table of positions is its grid's, else None: timm then takes a square."""
    (height, width), (down, across) = image_size, facts.size(ours).stride
    tokens = sum(len(ours[name]) for name in positions.TOKENS if name in ours)
    places = len(ours["positions/table"]) - (height // down) * (width // across)
    return image_size if places in (0, tokens) else None


def _whole_patches(ours: Arrays, image_size: tuple[int, int]) -> tuple[int, int]:
    (height, width), (down, across) = image_size, facts.size(ours).stride
    return height // down * down, width // across * across


def _refuse_another(model: dict[str, Any], said: Described) -> None:
    """Raises UserError if the arrays have parts that the architecture has not, or the other way round."""
    misfits = architectures.misfits(said.model, model, said.changed)
    if said.classes not in (None, model["classes"]):
        misfits.append(f"classes came {model['classes']}, wanted {said.classes}")
    refuse(
        f"the arrays are not those of {said.model.name}",
        {"options": misfits},
        "Is the file complete, and the config.json its own?",
    )
