"""The decoder of the extra [fast]: simplejpeg reads JPEGs, cykooz-resizer resizes; on every processor the same.

Both decoders have libjpeg-turbo inside, and cykooz-resizer resizes in integers as Pillow does (the crate
fast_image_resize). Bilinear pixels are a grey level from Pillow's at most; so are nearly all bicubic ones, but where
that overshoots black or white, which is clipped between two passes, their order differs. What is no plain JPEG, and
what simplejpeg refuses, Pillow decodes.
"""

import functools
import importlib
import math
from typing import Any

import numpy as np

from vit_jax.data.images import Image
from vit_jax.data.images.decode import decode
from vit_jax.data.images.picture import REACH, Box, Jpeg, Picture
from vit_jax.errors import UserError

KERNELS = {"bilinear": "bilinear", "bicubic": "catmull_rom"}  # as cykooz-resizer calls them


@functools.cache
def libraries() -> tuple[Any, Any]:
    """Returns simplejpeg and cykooz_resizer; raises UserError where the extra is not installed."""
    try:
        return importlib.import_module("simplejpeg"), importlib.import_module("cykooz_resizer")
    except ModuleNotFoundError as error:
        raise UserError(f'decoder "fast" needs {error.name}: install the extra [fast], or choose "pil"') from None


def resized(picture: Picture, size: tuple[int, int], resample: str, box: Box) -> Image:
    """Returns `box` of the picture, resized to `size` (width, height); antialiased."""
    simplejpeg, cykooz = libraries()
    if isinstance(picture, Jpeg):
        pixels, box = _decoded(simplejpeg, picture, box, size, resample)
    else:
        pixels = np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.height, picture.width, 3)
    left, top, right, bottom = box
    # Rows that nothing is made of need not be copied.
    first = max(0, math.floor(top - REACH[resample] * max(1, (bottom - top) / size[1])))
    pixels = pixels[first:]
    height, width, _ = pixels.shape
    source = cykooz.ImageData(width, height, cykooz.PixelType.U8x3, pixels.tobytes())
    target = cykooz.ImageData(*size, cykooz.PixelType.U8x3)
    options = cykooz.ResizeOptions(
        resize_alg=cykooz.ResizeAlg.convolution(cykooz.FilterType[KERNELS[resample]]),
        # Rounding may have put the far edges past the picture's.
        crop_box=cykooz.CropBox(left, top - first, min(right, width) - left, min(bottom, first + height) - top),
    )
    cykooz.Resizer().resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(size[1], size[0], 3)


def _decoded(simplejpeg: Any, jpeg: Jpeg, box: Box, size: tuple[int, int], resample: str) -> tuple[Image, Box]:
    """Returns what must be decoded for the box, uint8 (height, width, 3), and the box in it."""
    part = jpeg.part(box, size, resample)
    width, height = (-(-side // part.shrink) for side in (jpeg.size[0], part.rows))
    try:
        # What is left out of a part is an error in the eyes of the strict.
        strict = part.file is jpeg.file
        return simplejpeg.decode_jpeg(part.file, min_width=width, min_height=height, strict=strict), part.box
    except ValueError:  # Pillow has the last word, and the error's
        return np.asarray(decode(jpeg.file, jpeg.name)), box
