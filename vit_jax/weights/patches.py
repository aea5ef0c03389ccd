"""A patch embedding for patches of another size (FlexiViT, arXiv 2212.08013, section 3.3)."""

import einops
import numpy as np


def pseudo_inverse(kernel: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the kernel for patches of `size` = (height, width) that makes tokens as like the old ones as can be.

    Of a patch that was enlarged by bilinear interpolation the new kernel makes the same token as the old one did of the
    patch itself. A smaller one loses some, and does not lead back to the old: start from the kernel that was published.

    Args:
      kernel: (height, width, channels, features).
      size: of the patches, in pixels.

    >>> kernel = np.random.default_rng(0).normal(size=(8, 8, 3, 16)).astype(np.float32)
    >>> pseudo_inverse(kernel, (12, 10)).shape
    (12, 10, 3, 16)
    """
    if kernel.shape[:2] == tuple(size):
        return kernel
    # The resize of a patch is that of its rows and that of its columns; so is its pseudo-inverse.
    rows, columns = (
        np.linalg.pinv(bilinear(before, after).T) for before, after in zip(kernel.shape[:2], size, strict=True)
    )
    pattern = "height h, width w, h w channel feature -> height width channel feature"
    return np.asarray(einops.einsum(rows, columns, kernel, pattern), kernel.dtype)


def bilinear(before: int, after: int) -> np.ndarray:
    """Returns the matrix (after, before) that resizes one axis, the border repeated and nothing smoothed first.

    As `tf.image.resize` does it unless told otherwise, which big_vision resizes by (models/proj/flexi/vit.py).
    """
    places = (np.arange(after) + 0.5) * before / after - 0.5
    distances = np.subtract.outer(np.clip(places, 0, before - 1), np.arange(before))
    return np.maximum(0, 1 - np.abs(distances))


# By the name in a recipe; families that name none are published for one size of patch.
RESIZE = {"pseudo_inverse": pseudo_inverse}
