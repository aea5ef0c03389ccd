"""Images drawn by formula: every class is a random iterated function system, every instance a variation of it.

After FractalDB (Kataoka et al., arXiv 2101.08515).
"""

from collections.abc import Callable, Sequence

import numpy as np

from vit_jax.data.examples import Example, Source
from vit_jax.data.sources import attractors
from vit_jax.errors import UserError, check_kind, did_you_mean, pick

SPLITS = {"train": 1, "val": 2}


class Fractals:
    """`classes` x `per_class` images (height, width, 3) of `image_size`, sorted by class; `split` varies the instances.

    `paint` is a word of PAINTS. An image depends on the arguments and its index alone. A class is drawn when first
    asked for and then kept, so that all of it may lie in memory: examples x height x width x 3 bytes.
    """

    most_labels: int | None = None

    def __init__(
        self,
        classes: int,
        per_class: int,
        image_size: Sequence,
        seed: int = 0,
        split: str = "train",
        paint: str = "colours",
    ):
        if seed < 0:
            raise UserError(f"the fractals' seed is {seed}; give 0 or more")
        for side in image_size:
            check_kind("a side of the fractals' image_size", side, int)
        if len(image_size) != 2 or min(classes, per_class, *image_size) < 1:
            raise UserError(
                f"cannot draw {classes} classes of {per_class} fractals at {tuple(image_size)}; "
                "give at least one of each, and image_size as (height, width)"
            )
        if split not in SPLITS:
            raise UserError(f'fractals have no split "{split}".{did_you_mean(split, SPLITS)}')
        self.classes = classes
        self.per_class = per_class
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.seed = seed
        self.split = split
        self.paint = pick(PAINTS, paint, "paint")
        self.class_names = tuple(f"fractal {label:04d}" for label in range(classes))
        self._drawn: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.classes * self.per_class

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        label, instance = divmod(index, self.per_class)
        # Two threads may draw the same class at once; they draw the same, so neither needs to wait.
        if label not in self._drawn:
            self._drawn[label] = self._draw(label)
        return Example(self._drawn[label][instance], label, f"{self.class_names[label]} {self.split} {instance}")

    def _draw(self, label: int) -> np.ndarray:
        """Returns all instances of a class: uint8 (per_class, height, width, 3)."""
        maps = attractors.choose_maps(np.random.default_rng((self.seed, label)))
        rng = np.random.default_rng((self.seed, label, SPLITS[self.split]))
        density = attractors.draw(attractors.vary(maps, self.per_class, rng), self.image_size, rng)
        return self.paint(density, rng)


def fractals(
    split: str, classes: int, per_class: int, image_size: Sequence, seed: int = 0, paint: str = "colours"
) -> Source:
    """`Fractals` as a kind of source; "train" and "val" show the same classes in different instances."""
    return Fractals(classes, per_class, image_size, seed, split, paint)


def colour(density: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paints (batch, height, width) densities: uint8 (batch, height, width, 3), in shades over a plain ground."""
    ground, thin, thick = rng.uniform(0, 255, (3, len(density), 1, 1, 3)).astype(np.float32)
    # The figure must stand out from the ground, whatever was drawn.
    thick = np.where(np.abs(thick - ground).mean(axis=-1, keepdims=True) < 80, (ground + 128) % 256, thick)
    thin = (thin + 2 * thick) / 3
    density = density[..., None]
    ink = thin + (thick - thin) * density
    cover = np.minimum(1, 3 * density)
    return (ground + (ink - ground) * cover).round().astype(np.uint8)


def glow(density: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paints densities in grey, light on dark: only shape differs, and a small network learns soonest."""
    dark, light = rng.uniform(((0,), (160,)), ((40,), (255,)), (2, len(density)))[..., None, None]
    grey = dark + (light - dark) * np.minimum(1, 1.6 * density)
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=-1)


PAINTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {"colours": colour, "glow": glow}
