"""The sixteen operations of RandAugment, bit for bit as TensorFlow ran them in the published recipes.

RandAugment (arXiv 1909.13719) left open what an operation does. What the ViT follow-ups trained with (AugReg,
arXiv 2106.10270; Better plain ViT baselines, arXiv 2205.01580) is the implementation released with EfficientNet's TPU
code in 2019. Its slips are part of those recipes and therefore of this file; the docstrings name them.
`tests/golden/make_tensorflow.py` rebuilds each operation of TensorFlow's own.

All take and return uint8 (height, width, 3) and leave the image that they are given alone.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from vit_jax.data.images import Image

FILL = 128  # grey: what comes in where the image is moved away or cut out
GREY = np.array([0.2989, 0.5870, 0.1140], np.float32)  # shares of red, green and blue, as tf.image has them
VALUES = np.arange(256, dtype=np.uint8)


# --- tables: every value of a pixel becomes another


def invert(image: Image) -> Image:
    """Returns the negative."""
    return 255 - image


def solarize(image: Image, threshold: int) -> Image:
    """Inverts the pixels from `threshold` on, which is taken modulo 256.

    The modulus is a slip: the published code compares uint8 pixels with a threshold of up to 512, which TensorFlow
    wraps. Thus 0, 256 and 512, which are magnitudes 0, 10 and 20, all invert the whole image.
    """
    return np.where(VALUES < threshold % 256, VALUES, 255 - VALUES).take(image)


def solarize_add(image: Image, addition: int) -> Image:
    """Adds `addition` to the pixels below 128 and stops at 255."""
    return np.where(VALUES < 128, np.minimum(VALUES + np.int64(addition), 255), VALUES).astype(np.uint8).take(image)


def posterize(image: Image, bits: int) -> Image:
    """Keeps the upper `bits` of the eight bits of every pixel, but for 0 or more than 8 the uppermost one alone.

    That is how TensorFlow shifts a uint8 by 8, or by a negative count: as by 7. Magnitude 0 asks for 0 bits; up to
    magnitude 20, which is 8 bits and changes nothing, more of it means less of a change.
    """
    shift = np.uint8(min((8 - bits) % 256, 7))
    return image >> shift << shift


def auto_contrast(image: Image) -> Image:
    """Stretches each channel to the whole range, 0 to 255; a channel of a single value stays as it is."""
    return np.stack([_stretched(image[..., channel]) for channel in range(3)], axis=-1)


def _stretched(channel: np.ndarray) -> np.ndarray:
    low, high = np.float32(channel.min()), np.float32(channel.max())
    if low == high:
        return channel
    scale = np.float32(255) / (high - low)
    return (VALUES * scale - low * scale).clip(0, 255).astype(np.uint8).take(channel)


def equalize(image: Image) -> Image:
    """Gives each channel a flat histogram, in Pillow's whole numbers; too few pixels for that stay as they are."""
    return np.stack([_equalized(image[..., channel]) for channel in range(3)], axis=-1)


def _equalized(channel: np.ndarray) -> np.ndarray:
    counts = np.bincount(channel.ravel(), minlength=256)
    step = (counts.sum() - counts[channel.max()]) // 255
    if step == 0:
        return channel
    below = np.concatenate([[0], (counts.cumsum()[:-1] + step // 2) // step])
    return below.clip(0, 255).astype(np.uint8).take(channel)


# --- blends: from something with less of a quality (factor 0) over the image (1) to something with more


def brightness(image: Image, factor: float) -> Image:
    """Blends from black."""
    return _blend(np.zeros_like(VALUES), VALUES, factor).take(image)


def contrast(image: Image, factor: float) -> Image:
    """Blends from a grey that was meant to be the mean of the image, but is the number of its pixels over 256.

    The published code sums its histogram without the values: 196 for every image of 224 x 224, 255 for larger ones.
    """
    height, width, _ = image.shape
    return _blend(np.full_like(VALUES, min(height * width // 256, 255)), VALUES, factor).take(image)


def color(image: Image, factor: float) -> Image:
    """Blends from the image in grey."""
    red, green, blue = np.moveaxis(image * np.float32(1 / 255), -1, 0)
    grey = (red * GREY[0] + green * GREY[1] + blue * GREY[2]) * np.float32(255.5)
    return _blend(grey.astype(np.uint8)[..., None], image, factor)


def sharpness(image: Image, factor: float) -> Image:
    """Blends from the image smoothed over 3 x 3 pixels, the middle one with weight 5; the border of 1 pixel stays.

    The nine are added up in float32 row by row, as TensorFlow's own convolution does. With oneDNN, which it calls
    instead since 2.9, four smoothed pixels in a thousand come out a level apart.
    """
    height, width, _ = image.shape
    once, middle = image * (np.float32(1) / np.float32(13)), image * (np.float32(5) / np.float32(13))
    smooth = np.zeros_like(once[2:, 2:])
    for row in range(3):
        for column in range(3):
            weighed = middle if (row, column) == (1, 1) else once
            smooth += weighed[row : height - 2 + row, column : width - 2 + column]
    sharpened = image.copy()
    sharpened[1:-1, 1:-1] = _blend(smooth.astype(np.uint8), image[1:-1, 1:-1], factor)
    return sharpened


def _blend(start: np.ndarray, stop: np.ndarray, factor: float) -> np.ndarray:
    """Returns start + factor (stop - start) in float32, cut off at 0 and 255 and then to whole numbers."""
    blend = stop - start.astype(np.float32)
    blend *= np.float32(factor)
    blend += start
    return blend.clip(0, 255, out=blend).astype(np.uint8)


# --- moves: each pixel becomes the nearest one at another place, or FILL


def rotate(image: Image, degrees: float) -> Image:
    """Turns the image around its middle, counter-clockwise for positive `degrees`."""
    height, width = np.float32(image.shape[0] - 1), np.float32(image.shape[1] - 1)
    cosine, sine = np.cos(np.float32(math.radians(degrees))), np.sin(np.float32(math.radians(degrees)))
    right = (width - (cosine * width - sine * height)) / np.float32(2)
    down = (height - (sine * width + cosine * height)) / np.float32(2)
    return _moved(image, [[cosine, -sine, right], [sine, cosine, down]])


def shear_x(image: Image, slope: float) -> Image:
    """Moves each row to the left by `slope` times its number."""
    return _moved(image, [[1, slope, 0], [0, 1, 0]])


def shear_y(image: Image, slope: float) -> Image:
    """Moves each column up by `slope` times its number."""
    return _moved(image, [[1, 0, 0], [slope, 1, 0]])


def translate_x(image: Image, pixels: float) -> Image:
    """Moves the image to the left."""
    return _moved(image, [[1, 0, pixels], [0, 1, 0]])


def translate_y(image: Image, pixels: float) -> Image:
    """Moves the image up."""
    return _moved(image, [[1, 0, 0], [0, 1, pixels]])


def _moved(image: Image, matrix: ArrayLike) -> Image:
    """Returns at (x, y) the pixel of `image` that is nearest to `matrix` (2, 3) times (x, y, 1), in float32."""
    height, width, _ = image.shape
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    column, row = (_rounded(x * a + y * b + c) for a, b, c in np.asarray(matrix, np.float32))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    # Pixels of four bytes are gathered in one go; the last of them is the fill.
    pixels = np.full((height * width + 1, 4), FILL, np.uint8)
    pixels[:-1, :3] = image.reshape(-1, 3)
    gathered = pixels.view(np.uint32)[:, 0].take(np.where(inside, row * width + column, height * width))
    return np.ascontiguousarray(gathered.view(np.uint8).reshape(height, width, 4)[..., :3])


def _rounded(places: np.ndarray) -> np.ndarray:
    """Returns the nearest whole numbers, halves away from zero, as C rounds and NumPy does not."""
    # Half, less the least bit: 0.5 itself would lift the float32 just below 0.5 to 1.
    return np.floor(places + np.nextafter(np.float32(0.5), np.float32(0))).astype(np.int32)


def cutout(image: Image, row: int, column: int, reach: int) -> Image:
    """Fills the square that reaches `reach` pixels to each side of (row, column), as far as it lies in the image."""
    cut = image.copy()
    cut[max(0, row - reach) : row + reach, max(0, column - reach) : column + reach] = FILL
    return cut
