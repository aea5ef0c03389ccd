"""Images of which no more is decoded than what is made of them needs."""

import io
import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import PIL.Image

from vit_jax.data.images.decode import decode, reading

# Left, top, right, bottom, in pixels.
Side: TypeAlias = int | float
Box: TypeAlias = tuple[Side, Side, Side, Side]

# How far a kernel reaches when it resizes, in pixels of what comes out.
REACH = {"bilinear": 1, "bicubic": 2}

# A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves so many times the pixels that are wanted, along each side.
OVERSAMPLE = 2
SHRINKS = (8, 4, 2)
# Fewer rows than a block has are not worth the trouble of leaving them out.
BLOCK = 16

# Markers (ITU T.81, table B.1).
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
END_OF_IMAGE = b"\xff\xd9"
START_OF_SCAN, EXIF_OR_XMP = 0xDA, 0xE1
ORIENTATION = 0x0112  # EXIF's tag


class Part(NamedTuple):
    """The first `rows` of a JPEG, as a file; by how much to shrink it in decoding; and the box in what comes out."""

    file: bytes | bytearray
    rows: int
    shrink: int
    box: Box


@dataclass(frozen=True)
class Jpeg:
    """An encoded JPEG of grey or colour that lies upright. `size` is (width, height)."""

    file: bytes
    name: str
    size: tuple[int, int]
    frame: int  # where in the file its frame header begins
    by_rows: bool  # coded from top to bottom, not in passes over the whole, and complete
    uneven: bool  # colours lie closer along one side than along the other, as in 4:2:2

    def part(self, box: Box, size: tuple[int, int], resample: str) -> Part:
        """Returns what to decode of this image, that `box` of it can be resized to `size` (width, height).

        Rows below the last that is needed are left out: the file's header says that it has fewer, and what was coded
        for them stays unread.
        """
        left, top, right, bottom = box
        wide, tall = (right - left) / size[0], (bottom - top) / size[1]
        # libjpeg shrinks colours that have half the pixels along both sides by half as much, and uneven ones as much.
        oversample = OVERSAMPLE * (1 + self.uneven)
        shrink = next((shrink for shrink in SHRINKS if min(wide, tall) >= oversample * shrink), 1)
        file, (width, height) = self.file, self.size
        # Two rows more than are needed: colours, stored at half the size, are interpolated from the next.
        rows = math.ceil(bottom + REACH[resample] * max(1, tall)) + 2 * shrink
        # Pillow 13 resizes what is so tall along its height first, and rounds otherwise then: a part must stay as tall.
        if height - size[1] > (turning := 2 * max(0, width - size[0])):
            rows = max(rows, size[1] + turning + 1)
        if self.by_rows and rows <= height - BLOCK:
            file, height = bytearray(file), rows
            file[self.frame + 5 : self.frame + 7] = rows.to_bytes(2, "big")
        return Part(file, height, shrink, (left / shrink, top / shrink, right / shrink, bottom / shrink))


Picture: TypeAlias = PIL.Image.Image | Jpeg  # RGB and upright, decoded or not


def opened(image: bytes | np.ndarray, name: str) -> Picture:
    """Returns any image as a picture, which is decoded already if `decode` must have a say in how.

    Raises:
      UnreadableImageError: as `decode` does. A Jpeg may turn out to be unreadable later.
    """
    jpeg = _jpeg(image, name) if isinstance(image, bytes) and image[:2] == b"\xff\xd8" else None
    return jpeg or decode(image, name)


def _jpeg(file: bytes, name: str) -> Jpeg | None:
    """Returns the image if its header is like most: 8 bits, grey or three colours, nothing to turn; else None."""
    at, frame, has_exif = 2, 0, False
    while (marker := file[at + 1 : at + 2]) != bytes([START_OF_SCAN]):
        if file[at : at + 1] != b"\xff" or not marker or marker == b"\xff":
            return None
        if marker[0] in (BASELINE, EXTENDED, PROGRESSIVE):
            frame = at
        has_exif |= marker[0] == EXIF_OR_XMP
        at += 2 + int.from_bytes(file[at + 2 : at + 4], "big")
    if not frame:
        return None
    header = file[frame + 4 : frame + 2 + int.from_bytes(file[frame + 2 : frame + 4], "big")]
    if len(header) not in (9, 15) or len(header) != 6 + 3 * header[5] or header[0] != 8:
        return None
    height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
    if not 0 < width * height <= (PIL.Image.MAX_IMAGE_PIXELS or 0):
        return None
    (across, down), *colours = [divmod(samples, 16) for samples in header[7::3]]
    uneven = any(across * colour[1] != down * colour[0] for colour in colours)
    if has_exif:
        with reading(name):
            if PIL.Image.open(io.BytesIO(file)).getexif().get(ORIENTATION, 1) != 1:
                return None
    by_rows = file[frame + 1] != PROGRESSIVE and file.endswith(END_OF_IMAGE)
    return Jpeg(file, name, (width, height), frame, by_rows, uneven)
