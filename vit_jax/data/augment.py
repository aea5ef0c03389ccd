"""What happens to a batch on the devices, inside the jitted step, before the model sees it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.shapes import Images, Pixels, Targets


def normalize(images: Pixels, mean: Sequence[float], std: Sequence[float]) -> Images:
    """Returns (images / 255 - mean) / std in float32, by channel.

    Mean and std 0.5 give [-1, 1], the value range of Google's weights.
    """
    mean_and_std = np.asarray([mean, std], np.float32)[:, None, None, None, :]
    return (images.astype(jnp.float32) / 255.0 - mean_and_std[0]) / mean_and_std[1]


def mixup(images: Images, targets: Targets, strength: float, key: jax.Array) -> tuple[Images, Targets]:
    """Blends each image and its target with the one before it in the batch (arXiv 1710.09412).

    One share for the whole batch, max(a, 1 - a) with a from Beta(strength, strength), as in AugReg (2106.10270).
    """
    share = jax.random.beta(key, strength, strength)
    share = jnp.maximum(share, 1.0 - share)
    return (
        share * images + (1.0 - share) * jnp.roll(images, 1, axis=0),
        share * targets + (1.0 - share) * jnp.roll(targets, 1, axis=0),
    )
