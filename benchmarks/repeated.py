"""A few images in memory as a source of any size, for benchmarks that are not about storage."""

from collections.abc import Sequence

import numpy as np

from vit_jax.data.examples import Example


class Repeated:
    """`images`, encoded or not, one after the other, again and again: `size` examples of one class."""

    class_names: tuple[str, ...] = ("",)
    most_labels: int | None = None

    def __init__(self, images: Sequence[bytes | np.ndarray], size: int = 1_000_000):
        self.images = images
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        return Example(self.images[index % len(self.images)], 0, "")
