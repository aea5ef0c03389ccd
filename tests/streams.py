"""Sources and transforms for the tests of batches; worker processes import them by name."""

import time

import numpy as np

from vit_jax.data.examples import Arrays
from vit_jax.errors import UserError


class Numbered(Arrays):
    """Images whose pixels are their number."""

    def __init__(self, size):
        super().__init__(np.broadcast_to(np.arange(size, dtype=np.uint8)[:, None, None], (size, 4, 4)), np.arange(size))


class Flawed(Numbered):
    """Some of whose images are none."""

    def __init__(self, size, flawed):
        super().__init__(size)
        self.flawed = set(flawed)

    def __getitem__(self, index):
        example = super().__getitem__(index)
        return example._replace(image=b"not an image", name=f"cat/{index}.jpg") if index in self.flawed else example


class Gone(Numbered):
    """One of whose files is not there any more."""

    def __getitem__(self, index):
        if index == 7:
            raise UserError('cannot read "cat/7.jpg": no such file')
        return super().__getitem__(index)


def still(picture, rng):
    return np.asarray(picture)


def noisy(picture, rng):
    return rng.integers(0, 256, (4, 4, 3), np.uint8)


def slow(picture, rng):
    time.sleep(0.05)
    return np.asarray(picture)
