"""Random erasing (arXiv 1708.04896)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vit_jax.data.images import Image
from vit_jax.errors import UserError, pick

TRIES = 100  # draws of a rectangle before an image is left as it is; its authors' code as well


@dataclass(frozen=True)
class Erase:
    """A random rectangle filled in, in a share `probability` of the images; the defaults are the paper's.

    `area` bounds the rectangle's part of the image, `ratio` its height over its width. Both are drawn evenly, as in the
    paper's algorithm 1; its place is drawn evenly among those within the image, as in its authors' code.
    `fill` is "noise", a random value for every pixel and channel, "black" or "white".
    """

    probability: float = 0.5
    area: Sequence[float] = (0.02, 0.4)
    ratio: Sequence[float] = (0.3, 1 / 0.3)
    fill: str = "noise"

    def __post_init__(self):
        pick(FILLS, self.fill, "fill")
        if not 0 <= self.probability <= 1:
            raise UserError(f"probability is {self.probability}; give the share of images that is erased, 0 to 1")
        if len(self.area) != 2 or not 0 < self.area[0] <= self.area[1] <= 1:
            raise UserError(f"area is {tuple(self.area)}; give two parts of the image in order, within 0 and 1")
        if len(self.ratio) != 2 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(f"ratio is {tuple(self.ratio)}; give two ratios of height to width in order")

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """Returns the image, or a copy with a rectangle of it filled."""
        if rng.random() >= self.probability:
            return image
        rows, columns = self.draw_box(image.shape[0], image.shape[1], rng)
        erased = image.copy()
        erased[rows, columns] = FILLS[self.fill](erased[rows, columns].shape, rng)
        return erased

    def draw_box(self, height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice]:
        """Returns the rows and columns to be erased from an image of `height` and `width`."""
        for _ in range(TRIES):
            area = rng.uniform(self.area[0], self.area[1]) * height * width
            ratio = rng.uniform(self.ratio[0], self.ratio[1])
            rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < rows <= height and 0 < columns <= width:
                top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
                return slice(top, top + rows), slice(left, left + columns)
        return slice(0), slice(0)


FILLS: dict[str, Callable[[tuple[int, ...], np.random.Generator], np.ndarray | int]] = {
    "noise": lambda shape, rng: rng.integers(0, 256, shape, np.uint8),
    "black": lambda shape, rng: 0,
    "white": lambda shape, rng: 255,
}
