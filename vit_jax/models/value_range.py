"""Whether images lie in the range that a model was trained on: told by the statistics of a batch."""

import functools
import logging

import numpy as np

from vit_jax.shapes import Images

log = logging.getLogger(__name__)

# Of normalised photographs, whatever their family's mean and std: some values are negative, the largest are near 2.6
# (white, by ImageNet's figures), and the deviation is about 1.
LARGEST, LEAST_DEVIATION, MOST_DEVIATION = 20.0, 0.05, 5.0
LOOKED_AT = 8  # images are enough
NORMALIZE = "subtract the mean and divide by the std"


def doubt(images: Images | np.ndarray) -> str:
    """Returns why these (batch, height, width, 3) can hardly be normalised images, in a line; "" if they can.

    >>> doubt(np.full((1, 2, 2, 3), 128.0))
    'values up to 128 look like pixels of 0 to 255: divide by 255, subtract the mean and divide by the std'
    """
    values = np.asarray(images[:LOOKED_AT], np.float32)
    if not values.size:
        return ""
    if values.max() > LARGEST:
        return f"values up to {values.max():.0f} look like pixels of 0 to 255: divide by 255, {NORMALIZE}"
    if values.min() >= 0 and values.max() <= 1:
        return f"values from {values.min():.2g} to {values.max():.2g} look like pixels of 0 to 1: {NORMALIZE}"
    if not LEAST_DEVIATION <= values.std() <= MOST_DEVIATION:
        return (
            f"values of mean {values.mean():.2g} and deviation {values.std():.2g} are no normalised images, whose "
            "deviation is about 1: were pixels of 0 to 1 taken for pixels of 0 to 255, or normalised twice?"
        )
    return ""


def look(images: Images | np.ndarray) -> None:
    """Says in the log, each doubt once, that images can hardly be what the model was trained on."""
    if said := doubt(images):
        _say(said)


@functools.cache
def _say(said: str) -> None:
    log.warning("the images' value range does not fit the model: %s", said)
