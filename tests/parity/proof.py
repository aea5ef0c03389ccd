"""Proves a family: a tiny model of its own library, every tensor redrawn, computes here what it computes there."""

import dataclasses
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax import models
from vit_jax.models import counts
from vit_jax.weights import adapt, files, formats, references
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded

TOLERANCE = 1e-5  # of the largest reference value, or of 1


@dataclasses.dataclass(frozen=True)
class Case:
    """A family's tiny model.

    Attributes:
      name: of the family, as a table says it: "DINOv2 with registers".
      format: that its files are in, a name in formats.FORMATS and in references.LIBRARIES.
      make: writes the checkpoint into a folder as its library does; returns the place to read it at.
      image_size: (height, width) of the model.
      resized: another (height, width), not square where the library takes it; None where it takes no other.
      unseen: names of arrays, blocks as `*`, that the logits do not depend on: biases of keys, tokens of pre-training.
      fine_tuned: whether the format has a place for a head of other classes, which the library reads.
      left_aside: what begins the names of arrays that are no part of the encoder, and are not written back.
      unseen_numerics: options of the model that could be wrong unnoticed.
      fine_tuned_at: (height, width) of the model with that head; None: as `resized`, or else as `image_size`.
    """

    name: str
    format: str
    make: Callable[[Path], Path]
    image_size: tuple[int, int]
    resized: tuple[int, int] | None
    unseen: tuple[str, ...] = ()
    fine_tuned: bool = True
    left_aside: tuple[str, ...] = ()
    unseen_numerics: tuple[str, ...] = ()
    fine_tuned_at: tuple[int, int] | None = None

    def encoder(self, file: File) -> File:
        """Returns the file without what is left aside."""
        arrays = {name: array for name, array in file.arrays.items() if not name.startswith(self.left_aside)}
        return dataclasses.replace(file, arrays=arrays)


@dataclasses.dataclass(frozen=True)
class Proof:
    """The largest differences, each relative to the largest reference value or 1.

    Attributes:
      blocks: of the tokens after any block.
      logits: of the logits, or features.
      resized: of blocks and logits at another image size; None where the library takes no other.
      written: of the library's own blocks and logits once it has read what we wrote back; 0.0 is expected.
      fine_tuned: of logits, ours against the library's, of a model with another head written for it; None: no place.
    """

    blocks: float
    logits: float
    resized: float | None
    written: float
    fine_tuned: float | None


def redrawn(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns float32 values for a tensor, of a size at which every tensor matters to the logits and none saturates.

    What is embedded is small, so that the epsilons of the norms that read it show: beside a variance of 1 they do not.
    """
    values = random.normal(size=shape)
    scales = "norm" in name and name.endswith(("weight", "scale")) or "gamma" in name or "lambda" in name
    if scales:
        values = 1 + 0.3 * values
    elif len(shape) > 1 and name.endswith("weight"):
        values *= 1.5 / np.sqrt(np.prod(shape[1:]))
    if "embed" in name or "token" in name or "cls" in name:
        values *= 0.01
    return values.astype(np.float32)


def images(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Returns two normalised images (2, height, width, 3)."""
    return np.random.default_rng(seed).normal(size=(2, *size, 3)).astype(np.float32)


def activations(loaded: Loaded, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what is computed here: "block00", …, "logits"; positions are resized where the images ask for it."""
    return _forward(loaded)(fitted(loaded, pixels.shape[1:3]).parameters, pixels)


def fitted(loaded: Loaded, image_size: tuple[int, int], classes: int | None = None) -> Loaded:
    """Returns the weights for images of another size and, if `classes` is given, with a new head of zeros.

    A new head reads the encoder itself: `pre_logits` goes with the old one (paper, section 3.2).
    """
    recipe, options = loaded.recipe, dict(loaded.recipe.model)
    if classes is not None:
        options["classes"] = classes
        options.pop("pre_logits", None)
    wanted = counts.shapes(models.build(**options), image_size)
    new_head = classes is not None
    parameters = adapt.fit(loaded.parameters, wanted, recipe.position_resize, new_head, recipe.patch_resize)
    names = recipe.class_names if classes is None else ()
    return Loaded(parameters, dataclasses.replace(recipe, model=options, image_size=image_size, class_names=names))


def _forward(loaded: Loaded) -> Callable[[Any, np.ndarray], dict[str, np.ndarray]]:
    model = models.build(**loaded.recipe.model)

    @jax.jit
    def run(parameters: Any, pixels: jax.Array) -> tuple[jax.Array, Any]:
        return model.apply({"params": parameters}, pixels, False, mutable=["intermediates"])

    def named(parameters: Any, pixels: np.ndarray) -> dict[str, np.ndarray]:
        logits, kept = run(parameters, pixels)
        blocks = kept["intermediates"]["encoder"]
        return {name: np.asarray(blocks[name]["output"]) for name in blocks} | {"logits": np.asarray(logits)}

    return named


def difference(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], *names: str) -> float:
    """Returns the largest relative difference over `names`, or over all; both must have the same names and shapes."""
    assert found.keys() == wanted.keys(), (sorted(found), sorted(wanted))
    assert all(found[name].shape == wanted[name].shape for name in wanted)
    pairs = ((found[name], wanted[name]) for name in names or wanted)
    return max(float(np.abs(one - other).max() / max(1, np.abs(other).max())) for one, other in pairs)


def prove(case: Case, folder: Path) -> Proof:
    """Makes the model of `case` in `folder` and compares; raises if a file is not read, or not written back alike."""
    place = case.make(folder)
    file = files.read(place)
    loaded = formats.load(file)
    assert loaded.recipe.origin["format"] == case.format, loaded.recipe.origin
    pixels = images(case.image_size)
    wanted = references.activations(str(place), case.format, pixels)
    found = activations(loaded, pixels)
    resized = None
    if case.resized:
        others = images(case.resized)
        resized = difference(activations(loaded, others), references.activations(str(place), case.format, others))

    back = formats.save(loaded, case.format)
    assert_same_arrays(case.encoder(back), case.encoder(file))
    suffix = place.suffix if place.suffix == ".npz" else ""
    again = references.activations(str(written(back, folder / f"back{suffix}")), case.format, pixels)
    fine_tuned = None
    if case.fine_tuned:
        size = case.fine_tuned_at or case.resized or case.image_size
        mine = with_drawn_head(fitted(loaded, size, classes=5))
        there = written(formats.save(mine, case.format), folder / f"fine_tuned{suffix}")
        others = images(mine.recipe.image_size)
        fine_tuned = difference(activations(mine, others), references.activations(str(there), case.format, others))
    blocks = [name for name in wanted if name != "logits"]
    return Proof(
        difference(found, wanted, *blocks),
        difference(found, wanted, "logits"),
        resized,
        difference(again, wanted),
        fine_tuned,
    )


def with_drawn_head(loaded: Loaded) -> Loaded:
    """Returns the weights with a head that is not zero, as fine-tuning leaves one."""
    random, flat = np.random.default_rng(5), flatten_dict(loaded.parameters, sep="/")
    drawn = {name: redrawn(random, "weight", array.shape) for name, array in flat.items() if name.startswith("head")}
    return Loaded(unflatten_dict(flat | drawn, sep="/"), loaded.recipe)


def written(file: File, place: Path) -> Path:
    """Writes `file` to `place` and returns it."""
    files.write(file, place)
    return place


def assert_same_arrays(one: File, other: File) -> None:
    """Raises AssertionError unless both hold the same names, dtypes, shapes and bits."""
    assert set(one.arrays) == set(other.arrays), set(one.arrays) ^ set(other.arrays)
    for name, array in other.arrays.items():
        assert one.arrays[name].dtype == array.dtype and one.arrays[name].shape == array.shape, name
        assert one.arrays[name].tobytes() == np.ascontiguousarray(array).tobytes(), name


def unseen_mutations(case: Case) -> set[str]:
    """Returns the names of arrays, of one block for all, whose rows could be wrong unnoticed.

    Each array in turn is rolled by one along every axis longer than 1 (along the first alone, registers would only
    change places, which nothing sees), read again, and the logits compared.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = case.encoder(files.read(case.make(Path(folder))))
        file = dataclasses.replace(file, arrays={name: np.array(array) for name, array in file.arrays.items()})
    pixels, loaded = images(case.image_size), formats.load(file)
    run = _forward(loaded)
    wanted, unseen = run(loaded.parameters, pixels), set()
    for name in {_starred(name): name for name in sorted(file.arrays)}.values():
        array = file.arrays[name]
        longer = tuple(axis for axis, length in enumerate(array.shape) if length > 1)
        changed = np.roll(array, (1,) * len(longer), longer) if longer else array + 1
        other = formats.load(dataclasses.replace(file, arrays=dict(file.arrays) | {name: changed}))
        if difference(run(other.parameters, pixels), wanted, "logits") <= 3 * TOLERANCE:
            unseen.add(_starred(name))
    return unseen


def unseen_numerics(case: Case) -> set[str]:
    """Returns the options that no array tells, and that could be wrong unnoticed: each in turn is changed."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = formats.load(files.read(case.make(Path(folder))))
        pixels, options = images(case.image_size), loaded.recipe.model
        wanted = _forward(loaded)(loaded.parameters, pixels)
        changes: dict[str, Any] = {"activation": "silu" if options["activation"] != "silu" else "gelu_quick"}
        changes |= {name: max(1e-6, 10 * options[name]) for name in options if name.endswith("epsilon")}
        if "standardization" in options:
            changes["standardization"] = "timm" if options["standardization"] == "google" else "google"
        unseen = set()
        for name, value in changes.items():
            recipe = dataclasses.replace(loaded.recipe, model=options | {name: value})
            found = _forward(Loaded(loaded.parameters, recipe))(loaded.parameters, pixels)
            if difference(found, wanted, "logits") <= 3 * TOLERANCE:
                unseen.add(name)
    return unseen


def _starred(name: str) -> str:
    """Returns the name with `*` for the number of a block.

    >>> _starred("blocks.3.attn.qkv.weight"), _starred("Transformer/encoderblock_3/LayerNorm_0/bias")
    ('blocks.*.attn.qkv.weight', 'Transformer/encoderblock_*/LayerNorm_0/bias')
    """
    return re.sub(r"(?<=[./])\d+(?=[./])|(?<=encoderblock_)\d+", "*", name)
