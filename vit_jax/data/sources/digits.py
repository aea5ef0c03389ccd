"""The handwritten digits that come with scikit-learn."""

from typing import Any

import numpy as np

from vit_jax.data.examples import Arrays, Source
from vit_jax.errors import UserError, did_you_mean


def digits(split: str, labels: int = 0) -> Source:
    """The 1,797 handwritten digits that come with scikit-learn: 8 x 8, grey, 10 classes.

    The splits are fixed for good: test has 50 of each class, val 20, train the other 1,097. `labels` keeps only that
    many training examples, as many of each class; a smaller budget lies within a larger one, and 0 keeps all.
    """
    from sklearn.datasets import load_digits

    found: Any = load_digits(return_X_y=True)  # where pandas is installed its types say more than is true
    pixels, targets = found
    sizes = {"test": 500, "val": 200, "train": 1097}
    if split not in sizes:
        raise UserError(f'digits has no split "{split}".{did_you_mean(split, sizes)}')
    if not 0 <= labels <= sizes["train"]:
        raise UserError(f"digits has {sizes['train']} training examples, not {labels}; 0 takes them all")

    shuffled = np.random.RandomState(0).permutation(len(targets))
    in_turn = shuffled[np.argsort(_depth_in_class(targets[shuffled]), kind="stable")]
    chosen = dict(zip(sizes, np.split(in_turn, np.cumsum(list(sizes.values()))[:-1]), strict=True))[split]
    if split == "train" and labels:
        chosen = chosen[:labels]
    images = np.round(pixels[chosen].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return Arrays(images, targets[chosen], [str(digit) for digit in range(10)], f"digits {split}")


def _depth_in_class(labels: np.ndarray) -> np.ndarray:
    """Returns how many examples of the same class come before each example."""
    depth = np.zeros(len(labels), int)
    for label in np.unique(labels):
        depth[labels == label] = np.arange((labels == label).sum())
    return depth
