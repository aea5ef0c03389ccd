"""RandAugment (arXiv 1909.13719) with the operations and the ranges that the published ViT recipes used."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vit_jax.data.images import Image, operations
from vit_jax.errors import UserError

# Its second argument is the level: a tenth of the magnitude, so that 1 is what the ranges below were drawn up for.
Operation: TypeAlias = Callable[[Image, float, np.random.Generator], Image]


@dataclass(frozen=True)
class RandAugment:
    """`layers` operations drawn evenly from sixteen, one after the other, each at `magnitude`.

    Every draw is carried out: the chance between 0.2 and 0.8 that the published code draws as well is handed on to
    operations on boxes alone, of which there is none among these. Magnitudes beyond 10 go beyond the ranges; the
    recipes use 15 and 20. Nor is 0 nothing: it inverts, equalizes, cuts to two grey levels, and more.
    """

    layers: int = 2
    magnitude: int = 10

    def __post_init__(self):
        if self.layers < 1 or self.magnitude < 0:
            raise UserError(
                f"randaugment has layers {self.layers} and magnitude {self.magnitude}; give at least 1 and 0, "
                "and leave it out for none"
            )

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """Returns the image after the operations that `rng` draws."""
        choices = list(OPERATIONS.values())
        for _ in range(self.layers):
            operation = choices[int(rng.integers(len(choices)))]
            image = operation(image, self.magnitude / 10, rng)
        return image


def _plain(function: Callable[[Image], Image]) -> Operation:
    return lambda image, level, rng: function(image)


def _counted(function: Callable[[Image, int], Image], full: int) -> Operation:
    return lambda image, level, rng: function(image, int(level * full))


def _enhanced(function: Callable[[Image, float], Image]) -> Operation:
    return lambda image, level, rng: function(image, level * 1.8 + 0.1)


def _signed(function: Callable[[Image, float], Image], full: float) -> Operation:
    def either_way(image: Image, level: float, rng: np.random.Generator) -> Image:
        return function(image, level * full if rng.random() < 0.5 else -level * full)

    return either_way


def _cutout(image: Image, level: float, rng: np.random.Generator) -> Image:
    height, width, _ = image.shape
    return operations.cutout(image, int(rng.integers(height)), int(rng.integers(width)), int(level * 40))


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": _plain(operations.auto_contrast),
    "equalize": _plain(operations.equalize),
    "invert": _plain(operations.invert),
    "rotate": _signed(operations.rotate, 30.0),  # degrees
    "posterize": _counted(operations.posterize, 4),  # bits
    "solarize": _counted(operations.solarize, 256),
    "color": _enhanced(operations.color),
    "contrast": _enhanced(operations.contrast),
    "brightness": _enhanced(operations.brightness),
    "sharpness": _enhanced(operations.sharpness),
    "shear_x": _signed(operations.shear_x, 0.3),
    "shear_y": _signed(operations.shear_y, 0.3),
    "translate_x": _signed(operations.translate_x, 100.0),  # pixels, whatever the image's size
    "translate_y": _signed(operations.translate_y, 100.0),
    "cutout": _cutout,
    "solarize_add": _counted(operations.solarize_add, 110),
}
