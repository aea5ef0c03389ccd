"""What a checkpoint is beside its arrays."""

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.data import augment
from vit_jax.data.images import preprocess
from vit_jax.errors import UserError, construct, one_line, pick
from vit_jax.models.positions import RESIZE
from vit_jax.weights import patches


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that one must know to use the arrays of a checkpoint.

    Attributes:
      model: options of `models.build`, as plain JSON values.
      image_size: (height, width) in pixels that the model was trained on last.
      mean: of each channel, taken from pixel / 255.
      std: of each channel, divided by after that.
      preprocess: how evaluation cuts an image to size: its "kind", and that kind's options.
      loss: name in objectives.classify.LOSSES that it was trained with, which tells how logits become probabilities;
        "" for a model without classes.
      class_names: in the order of the logits; empty where nobody knows them.
      position_resize: name of the kernel in models.positions.RESIZE for another image size.
      source: a line that says where the arrays come from.
      license: the terms they were published under, as a short name; "" where the file does not say.
      patch_resize: name in weights.patches.RESIZE for patches of another size; "" where the weights are for one size.
      origin: the "format" of the file they were read from, and what only writing such a file again asks for.

    Raises:
      UserError: a value that is not as above.
    """

    model: dict[str, Any]
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    preprocess: dict[str, Any]
    loss: str
    class_names: tuple[str, ...]
    position_resize: str
    source: str
    license: str = ""
    patch_resize: str = ""
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in WANTED:
            _check(name, getattr(self, name))
        pick(RESIZE, self.position_resize, "kernel to resize positions")
        if self.patch_resize:
            pick(patches.RESIZE, self.patch_resize, "way to resize patches")

    @property
    def labels(self) -> tuple[str, ...]:
        """What each logit is called: its class, or its number where nobody knows their names."""
        return self.class_names or tuple(map(str, range(self.model["classes"])))

    def cut(self) -> dict[str, Any]:
        """Returns `preprocess` whole: what it leaves unsaid is said as its kind takes it."""
        transform: Any = preprocess.build(image_size=self.image_size, **self.preprocess)
        options = dataclasses.asdict(transform)
        return {"kind": self.preprocess["kind"]} | {name: options[name] for name in options if name != "image_size"}

    def normalized(self, pixels: np.ndarray) -> jax.Array:
        """Returns uint8 RGB images (batch, height, width, 3) as the model is to see them, float32.

        Raises:
          UserError: floats, of which nobody knows what was done to them already.
        """
        if pixels.dtype != np.uint8:
            raise UserError(f"images are normalised from uint8, 0 to 255; got {pixels.dtype}")
        return augment.normalize(jnp.asarray(pixels), self.mean, self.std)

    def to_json(self) -> str:
        """Returns the text from which `from_json` makes an equal recipe."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Returns the recipe that `text` holds; raises UserError for a key that is unknown or missing."""
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise UserError(f"a recipe is a JSON object, and this is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise UserError(f"a recipe is a JSON object; got {text[:40]}")
        for name in WANTED.keys() & fields:
            _check(name, fields[name])
        tuples = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return construct(cls, "a recipe", **fields | tuples)


def _check(name: str, value: object) -> None:
    holds, wanted = WANTED[name]
    if not holds(value):
        raise UserError(f"a recipe's {name} is {wanted}; got {str(value)[:200]}")


def _is_plain(value: object) -> bool:
    """Whether `value` is a dict that JSON gives back as it was: no tuples, no keys but words, no NaN."""
    try:
        return isinstance(value, dict) and json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        return False


def _are(value: object, kinds: type | tuple[type, ...], count: int | None = None) -> bool:
    if not isinstance(value, list | tuple) or count not in (None, len(value)):
        return False
    return all(isinstance(one, kinds) and not isinstance(one, bool) for one in value)


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value == one_line(value)  # it is printed, perhaps to a terminal


def _are_channels(value: Any) -> bool:
    return _are(value, (int, float), 3) and all(abs(one) <= sys.float_info.max for one in value)


WANTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_is_plain, "a dict of plain JSON values (lists, not tuples)"),
    "image_size": (lambda value: _are(value, int, 2) and min(value) > 0, "[height, width] in pixels"),
    "mean": (_are_channels, "three numbers"),
    "std": (lambda value: _are_channels(value) and min(value) > 0, "three numbers above zero"),
    "preprocess": (lambda value: _is_plain(value) and "kind" in value, 'a dict of plain JSON values with a "kind"'),
    "loss": (_is_line, "the name of a loss"),
    "class_names": (lambda value: _are(value, str) and all(map(_is_line, value)), "a list of words"),
    "position_resize": (_is_line, "the name of a kernel"),
    "source": (_is_line, "a line of text"),
    "license": (_is_line, "a line of text"),
    "patch_resize": (_is_line, "the name of a way to resize patches"),
    "origin": (_is_plain, "a dict of plain JSON values (lists, not tuples)"),
}
