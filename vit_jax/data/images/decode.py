"""From an encoded image, of whatever kind, to uint8 RGB."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import PIL.Image
import PIL.ImageOps

from vit_jax.data.unreadable import UnreadableImageError

# What Pillow's readers raise at damaged files.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error)


def decode(image: bytes | np.ndarray, name: str) -> PIL.Image.Image:
    """Returns any image as RGB: upright by its EXIF, grey repeated, transparency on white, 16 bits rounded to 8.

    `image` is an encoded file, or uint8 (height, width[, 1 | 3 | 4]). The result stays Pillow's, so that a crop copies
    its own pixels only.

    Raises:
      UnreadableImageError: it cannot be read, ends early or is too large to be honest; the image is named.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image, name)
    with reading(name):
        picture = PIL.Image.open(io.BytesIO(image))
        picture.load()
        PIL.ImageOps.exif_transpose(picture, in_place=True)
        return _to_rgb(picture, name)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns what Pillow raises at an image into an UnreadableImageError that names it."""
    try:
        yield
    except UnreadableImageError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise UnreadableImageError(f'"{name}" is too large: {str(error).rstrip(".")}') from None
    except BROKEN as error:
        reason = "not an image" if isinstance(error, PIL.UnidentifiedImageError) else error
        raise UnreadableImageError(f'cannot decode "{name}" ({reason}); mend it or take it out') from None


def _from_array(image: np.ndarray, name: str) -> PIL.Image.Image:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise UnreadableImageError(f'"{name}" is {image.dtype} {image.shape}; give uint8 (height, width[, channels])')
    if image.ndim == 2:
        image = image[..., None]
    height, width, channels = image.shape
    if channels == 1:
        image = np.repeat(image, 3, axis=-1)
    elif channels == 4:
        return _to_rgb(PIL.Image.fromarray(image), name)
    elif channels != 3:
        raise UnreadableImageError(f'"{name}" has {channels} channels; give 1, 3 or 4')
    # Half the time of fromarray, which is what a tiny image costs.
    return PIL.Image.frombuffer("RGB", (width, height), np.ascontiguousarray(image), "raw", "RGB", 0, 1)


def _to_rgb(picture: PIL.Image.Image, name: str) -> PIL.Image.Image:
    if picture.mode.startswith("I"):
        picture = PIL.Image.fromarray(((np.asarray(picture, np.int64).clip(0, 65535) + 128) // 257).astype(np.uint8))
    elif picture.mode == "F":
        raise UnreadableImageError(f'"{name}" has floating-point pixels, of unknown range; save it with 8 or 16 bits')
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, "white")
        picture = PIL.Image.alpha_composite(white, picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")
