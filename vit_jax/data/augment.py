"""What happens to a batch on the devices, inside the jitted step, before the model sees it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.models import value_range
from vit_jax.shapes import Images, Pixels, Targets


def normalize(images: Pixels, mean: Sequence[float], std: Sequence[float]) -> Images:
    """Returns (images / 255 - mean) / std in float32, by channel.

    Mean and std 0.5 give [-1, 1], the value range of Google's weights.
    """
    mean_and_std = np.asarray([mean, std], np.float32)[:, None, None, None, :]
    return (images.astype(jnp.float32) / 255.0 - mean_and_std[0]) / mean_and_std[1]


def look(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> None:
    """Says in the log if the first of these uint8 images, normalised so, can hardly be what a model was trained on."""
    value_range.look(np.asarray(normalize(jnp.asarray(pixels[: value_range.LOOKED_AT]), mean, std)))


def renormalize(
    images: Images, before: tuple[Sequence[float], Sequence[float]], after: tuple[Sequence[float], Sequence[float]]
) -> Images:
    """Returns images that were normalised with (mean, std) `before` as if it had been with those of `after`."""
    if before == after:
        return images  # bit for bit
    (mean, std), (new_mean, new_std) = np.asarray([before, after], np.float32)
    scale, shift = std / new_std, (mean - new_mean) / new_std
    return images * scale[None, None, None] + shift[None, None, None]


def mixup(images: Images, targets: Targets, strength: float, key: jax.Array) -> tuple[Images, Targets]:
    """Blends each image and its target with the one before it in the batch (arXiv 1710.09412).

    One share for the whole batch, max(a, 1 - a) with a from Beta(strength, strength), as in the code published with
    AugReg (2106.10270); but there the neighbour is that in a device's part of the batch, here that in the whole, so
    that the number of devices changes nothing. The paper of mixup draws partners at random and takes a as it comes.
    """
    share = jax.random.beta(key, strength, strength)
    share = jnp.maximum(share, 1.0 - share)
    return (
        share * images + (1.0 - share) * jnp.roll(images, 1, axis=0),
        share * targets + (1.0 - share) * jnp.roll(targets, 1, axis=0),
    )


def cutmix(images: Images, targets: Targets, strength: float, key: jax.Array) -> tuple[Images, Targets]:
    """Pastes a box of the image before it in the batch over each image (arXiv 1905.04899, section 3.1).

    One box for the whole batch: centred anywhere, of the images' shape and of the share 1 - a of their area, with a
    from Beta(strength, strength), cut off where it leaves them. The targets are shared by the area that is left of it.
    """
    _, height, width, _ = images.shape
    key_share, key_row, key_column = jax.random.split(key, 3)
    side = jnp.sqrt(1.0 - jax.random.beta(key_share, strength, strength))
    rows = _span(height, side, key_row)
    columns = _span(width, side, key_column)
    box = rows[:, None] & columns[None, :]
    share = box.mean(dtype=jnp.float32)
    return (
        jnp.where(box[None, :, :, None], jnp.roll(images, 1, axis=0), images),
        (1.0 - share) * targets + share * jnp.roll(targets, 1, axis=0),
    )


def _span(size: int, part: jax.Array, key: jax.Array) -> jax.Array:
    """Returns bool (size,): a stretch of `part` of the places, rounded down, around one that is drawn evenly."""
    length = jnp.floor(part * size).astype(int)
    first = jax.random.randint(key, (), 0, size) - length // 2
    places = jnp.arange(size)
    return (places >= first) & (places < first + length)
