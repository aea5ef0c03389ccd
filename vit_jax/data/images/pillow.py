"""The decoder that is always there: Pillow, whose pixels are the reference."""

import io

import numpy as np
import PIL.Image

from vit_jax.data.images import Image
from vit_jax.data.images.decode import reading
from vit_jax.data.images.picture import Box, Jpeg, Part, Picture

RESAMPLES = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}


def resized(picture: Picture, size: tuple[int, int], resample: str, box: Box) -> Image:
    """Returns `box` of the picture, resized to `size` (width, height); antialiased."""
    if isinstance(picture, Jpeg):
        picture, box = _decoded(picture, picture.part(box, size, resample))
    picture = picture.resize(size, RESAMPLES[resample], box)
    if picture.mode != "RGB":  # a grey JPEG: three times as fast to resize before
        picture = picture.convert("RGB")
    # Half the time of asarray, which is what a tiny image costs.
    return np.frombuffer(picture.tobytes(), np.uint8).reshape(size[1], size[0], 3)


def _decoded(jpeg: Jpeg, part: Part) -> tuple[PIL.Image.Image, Box]:
    """Returns the part of the image, and the box in it: rounding may have put its far edges past the picture's."""
    with reading(jpeg.name):
        picture = PIL.Image.open(io.BytesIO(part.file), formats=("JPEG",))
        if part.shrink > 1:
            picture.draft(None, (picture.width // part.shrink, picture.height // part.shrink))
        picture.load()
    left, top, right, bottom = part.box
    return picture, (left, top, min(right, picture.width), min(bottom, picture.height))
