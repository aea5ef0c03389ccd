"""Looks at a file of weights before anybody trusts it: what it is, what is odd, what will be done about that."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from typing import cast

import numpy as np
from flax.traverse_util import flatten_dict

from vit_jax.errors import UserError, one_line
from vit_jax.models.sizes import by_numbers, name_of
from vit_jax.weights import formats
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded, is_float
from vit_jax.weights.rename import shortened


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something odd: `what` it is, what `will` be done about it, and whether it makes the file useless as it is."""

    what: str
    will: str
    bad: bool = False


def examine(file: File) -> tuple[Loaded | None, list[Finding]]:
    """Returns the weights, None if they cannot be read, and all that is odd about them."""
    findings = list(_damage(file))
    try:
        loaded = formats.load(file)
    except UserError as error:
        return None, [*findings, Finding(str(error), "the file is not read", bad=True)]
    return loaded, [*findings, *_oddities(file, loaded)]


def description(file: File, loaded: Loaded) -> dict[str, str]:
    """Returns what the weights in `file` are, a few words for each question."""
    recipe, flat = loaded.recipe, _flat(loaded)
    numbers = recipe.model["size"]
    size = name_of(by_numbers(numbers, "model.size")) or ", ".join(f"{key} {value}" for key, value in numbers.items())
    options = {name: value for name, value in recipe.model.items() if name not in ("size", "classes")}
    kind, *details = recipe.preprocess.values()
    return {
        "format": recipe.origin.get("format", "vit_jax"),
        "model": f"{size}, {sum(array.size for array in flat.values()):,} parameters",
        "architecture": ", ".join(f"{name} {value}" for name, value in options.items()),
        "images": f"{recipe.image_size[0]}x{recipe.image_size[1]}, {' '.join(map(str, [kind, *details]))}",
        "value range": f"pixel / 255 - {_channels(recipe.mean)}, divided by {_channels(recipe.std)}",
        "positions": f"resized by {recipe.position_resize}",
        "classes": f"{recipe.model['classes']:,}" + (", with names" if recipe.class_names else ""),
        "license": recipe.license or "not said in the file",
        "source": recipe.source,
    } | _written(file)


def _written(file: File) -> dict[str, str]:
    match file.notes.get("provenance"):
        case {"source": str(source), "vit_jax": str(version)}:
            return {"written by": one_line(f"vit_jax {version}, from {source}")}
    return {}


def _flat(loaded: Loaded) -> dict[str, np.ndarray]:
    return cast(dict[str, np.ndarray], flatten_dict(loaded.parameters, sep="/"))  # with a separator the keys are words


def _channels(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _damage(file: File) -> Iterator[Finding]:
    wrong = [name for name, array in file.arrays.items() if is_float(array) and not np.isfinite(array).all()]
    if wrong:
        yield Finding(
            f"values that are not numbers, in {shortened(sorted(wrong))}", "download the file again", bad=True
        )
    kinds = Counter(str(array.dtype) for array in file.arrays.values())
    if set(kinds) != {"float32"}:
        counts = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common())
        yield Finding(f"arrays that are not all float32: {counts}", "read as float32; written back as they were")


def _oddities(file: File, loaded: Loaded) -> Iterator[Finding]:
    recipe, flat = loaded.recipe, _flat(loaded)
    if formats.has_zeroed_head(loaded.parameters):
        yield Finding("the head is all zeros", "good for fine-tuning; `predict` and `evaluate` refuse it")
    if recipe.model.get("positions") == "learned_patches" and "class_token" in flat:
        yield Finding(
            "the class token has no position of its own: it was merged into the token, or there never was one",
            "read as it is, which computes the same",
        )
    unsqueezed = [name for name, array in file.arrays.items() if array.ndim == 4 and math.prod(array.shape[:3]) == 1]
    unsqueezed = [name for name in unsqueezed if "norm" in name or "gn" in name]
    if unsqueezed:
        example = f"{unsqueezed[0]} {file.arrays[unsqueezed[0]].shape}"
        yield Finding(
            f"{len(unsqueezed)} norms with the axes of a map, such as {example}", "squeezed; written back with them"
        )
    left = sorted(set(file.arrays) - set(formats.save(loaded, recipe.origin["format"]).arrays))
    if left:
        yield Finding(f"{len(left)} arrays that no Vision Transformer uses: {shortened(left, 4)}", "left aside")
    dead = [name for name, array in flat.items() if name.endswith(("kernel", "scale")) and not np.any(array)]
    dead = sorted(name for name in dead if not name.startswith("head"))
    if dead:
        yield Finding(f"arrays of zeros alone: {shortened(dead)}", "read as they are; was the file saved too early?")
    if recipe.model["classes"] and not recipe.class_names:
        yield Finding("no class names", "predictions are numbered")
