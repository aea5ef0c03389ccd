"""What one image is: its size, what is odd about it, its mean, and two fingerprints to find it again by."""

import enum
import hashlib
import io
import warnings
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
import PIL.Image

from vit_jax.data.examples import Example
from vit_jax.data.images.decode import BROKEN, decode
from vit_jax.errors import UserError

TINY = 8  # pixels: a shorter side has too little to see
STRETCHED = 4  # times the shorter side: little of such an image is left in a square crop
FORMATS = {
    ".bmp": "BMP", ".gif": "GIF", ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".ppm": "PPM", ".tif": "TIFF",
    ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip
BITS_PER_SAMPLE, ORIENTATION = 258, 274  # tags of TIFF and EXIF

# The sketch: cosines of up to 7 half-waves over either side of the image, 32 x 32 and grey.
SIDE, WAVES = 32, 8
COSINES = np.cos(np.pi * np.outer(np.arange(WAVES), np.arange(SIDE) + 0.5) / SIDE).astype(np.float32)
# Images have less of a wave the finer it is: so weighed, all count alike. The mean, no wave, counts nothing.
WEIGHTS = np.hypot(*np.mgrid[:WAVES, :WAVES]).astype(np.float32)
FLAT = 4  # grey levels: below, the waves are noise


class Flaw(enum.IntFlag):
    """What may be odd about an image; several at once."""

    UNREADABLE = enum.auto()
    NOT_AN_IMAGE = enum.auto()
    DAMAGED = enum.auto()
    TOO_LARGE = enum.auto()
    HUGE = enum.auto()
    ONE_PIXEL = enum.auto()
    TINY = enum.auto()
    CONSTANT = enum.auto()
    STRETCHED = enum.auto()
    ANIMATED = enum.auto()
    CMYK = enum.auto()
    GREY = enum.auto()
    TRANSPARENT = enum.auto()
    DEEP = enum.auto()
    ROTATED = enum.auto()
    WRONG_SUFFIX = enum.auto()


# Those that leave nothing to look at.
LOST = Flaw.UNREADABLE | Flaw.NOT_AN_IMAGE | Flaw.DAMAGED | Flaw.TOO_LARGE


class Looked(NamedTuple):
    """The facts of one image; of one that is lost, `flaws` and `reason` alone.

    Attributes:
      flaws: what is odd about it.
      reason: why it is lost, in a line; "" if it is not.
      height, width: in pixels, as it stands upright.
      content: 16 bytes that only images of the same size and pixels share, however they were saved.
      sketch: int8 (64,), the weight of each wave; see `sketch`.
      mean, square: of its pixels and of their squares, by channel, where pixels lie in 0..1.
    """

    flaws: Flaw
    reason: str = ""
    height: int = 0
    width: int = 0
    content: bytes = bytes(16)
    sketch: np.ndarray = np.zeros(WAVES * WAVES, np.int8)
    mean: np.ndarray = np.zeros(3)
    square: np.ndarray = np.zeros(3)


def look(example: Example) -> Looked:
    """Returns the facts of an image, whatever state it is in; it is seen as training sees it: see `decode`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of is said as a flaw
        return _look(example)


def _look(example: Example) -> Looked:
    image, name = example.image, example.name
    try:
        flaws = _of_array(image) if isinstance(image, np.ndarray) else _of_file(image, name)
    except PIL.UnidentifiedImageError:
        return Looked(Flaw.NOT_AN_IMAGE, f'"{name}" {"is no image" if image else "is empty"}')
    except PIL.Image.DecompressionBombError as error:
        return Looked(Flaw.TOO_LARGE, f'"{name}" is too large: {str(error).rstrip(".")}')
    except BROKEN as error:
        return Looked(Flaw.DAMAGED, f'cannot decode "{name}" ({error})')
    try:
        picture = decode(image, name)
    except UserError as error:
        return Looked(Flaw.DAMAGED, str(error))
    width, height = picture.size
    if width * height == 1:
        flaws |= Flaw.ONE_PIXEL
    elif min(width, height) < TINY:
        flaws |= Flaw.TINY
    elif is_constant(picture):
        flaws |= Flaw.CONSTANT
    if max(width, height) > STRETCHED * min(width, height):
        flaws |= Flaw.STRETCHED
    mean, square = moments(picture)
    return Looked(flaws, "", height, width, content(picture), sketch(picture), mean, square)


def _of_array(image: np.ndarray) -> Flaw:
    channels = image.shape[2] if image.ndim == 3 else 1
    return {1: Flaw.GREY, 4: Flaw.TRANSPARENT}.get(channels, Flaw(0))


def _of_file(image: bytes, name: str) -> Flaw:
    """Returns what an encoded image's header says; raises what Pillow raises."""
    flaws = Flaw(0)
    with PIL.Image.open(io.BytesIO(image)) as picture:
        kind = "JPEG" if picture.format == "MPO" else picture.format  # MPO: a camera's JPEG, a preview behind it
        if picture.width * picture.height > (PIL.Image.MAX_IMAGE_PIXELS or np.inf):
            flaws |= Flaw.HUGE
        if picture.mode == "CMYK":
            flaws |= Flaw.CMYK
        if picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I"):
            flaws |= Flaw.GREY
        if picture.has_transparency_data:
            flaws |= Flaw.TRANSPARENT
        if _bits(picture, image) > 8:
            flaws |= Flaw.DEEP
        if kind != "JPEG" and getattr(picture, "n_frames", 1) > 1:
            flaws |= Flaw.ANIMATED
        if picture.getexif().get(ORIENTATION, 1) in range(2, 9):
            flaws |= Flaw.ROTATED
        if FORMATS.get(PurePath(name).suffix.lower(), kind) != kind:
            flaws |= Flaw.WRONG_SUFFIX
    return flaws


def _bits(picture: PIL.Image.Image, image: bytes) -> int:
    """Returns how many bits a channel has; Pillow's mode does not tell where it keeps eight of them."""
    if picture.format == "PNG":
        return image[24]  # of the first chunk, IHDR, after width and height
    tags = getattr(picture, "tag_v2", {})
    return max(tags.get(BITS_PER_SAMPLE, (16 if picture.mode.startswith("I") else 8,)))


def is_constant(picture: PIL.Image.Image) -> bool:
    """Tells whether all pixels of an RGB picture have one colour."""
    return picture.getcolors(1) is not None


def moments(picture: PIL.Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of an RGB picture's pixels and of their squares, float64 (3,) each, pixels in 0..1."""
    shares = np.reshape(picture.histogram(), (3, 256)) / (picture.width * picture.height)
    levels = np.arange(256) / 255
    return shares @ levels, shares @ levels**2


def content(picture: PIL.Image.Image) -> bytes:
    """Returns 16 bytes of the SHA-256 of an RGB picture's size and pixels."""
    digest = hashlib.sha256(f"{picture.width} {picture.height} ".encode())
    digest.update(picture.tobytes())
    return digest.digest()[:16]


def sketch(picture: PIL.Image.Image) -> np.ndarray:
    """Returns what an RGB picture shows in 64 numbers, int8 (64,), the largest 127 or -127; all 0 if it is flat.

    The low frequencies of the discrete cosine transform of the picture in grey at 32 x 32, weighed so that all count
    alike: two copies of a picture have nearly the same, though one was resized, brightened or saved at low quality.
    The signs of the numbers are a perceptual hash of 63 bits (pHash, Zauner 2010, section 3.2.1).
    """
    small = picture.resize((SIDE, SIDE), PIL.Image.Resampling.BILINEAR)
    grey = np.asarray(small.convert("L"), np.float32)
    if np.ptp(grey) < FLAT:
        return np.zeros(WAVES * WAVES, np.int8)
    waves = WEIGHTS * (COSINES @ grey @ COSINES.T)
    return np.round(waves * (127 / np.abs(waves).max())).astype(np.int8).ravel()
