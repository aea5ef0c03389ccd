"""An example as a record of a shard: what is kept of its image, and the bytes of a tf.train.Example."""

import io
from collections.abc import Sequence

import PIL.Image

from vit_jax.data.examples import Example
from vit_jax.data.images.decode import decode

QUALITY = 95  # of the JPEGs that are shrunk; the colours keep half the resolution, as in nearly all JPEGs
KEYS = {"image": "image", "label": "label", "name": "file_name"}


def stored(example: Example, short_side: int) -> tuple[bytes, bool]:
    """Returns the image as an encoded file, its shorter side at most `short_side` (0: any), and whether it was shrunk.

    A file that is small enough keeps its bytes; pixels become a PNG of the same pixels. One that is shrunk is upright
    RGB (`decode` says how) and becomes a JPEG, by Pillow's bicubic filter, which is antialiased. Every image is decoded
    on the way. Raises UserError, which names the image, where it cannot be.
    """
    picture = decode(example.image, example.name)
    width, height = picture.size
    scale = short_side / min(width, height) if short_side else 1.0
    file = io.BytesIO()
    if scale < 1:
        size = max(short_side, round(width * scale)), max(short_side, round(height * scale))
        picture.resize(size, PIL.Image.Resampling.BICUBIC).save(file, "JPEG", quality=QUALITY)
        return file.getvalue(), True
    if isinstance(example.image, bytes):
        return example.image, False
    pixels = example.image[..., 0] if example.image.ndim == 3 and example.image.shape[-1] == 1 else example.image
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), False


def encode(image: bytes, labels: Sequence[int], name: str) -> bytes:
    """Returns a serialised tf.train.Example with the keys of KEYS, always in the same order of bytes.

    By hand, because protobuf promises no order of a map's keys, and because a worker starts in a tenth of the time.
    """
    values = {
        "file_name": _bytes(name.encode(errors="backslashreplace")),
        "image": _bytes(image),
        "label": _integers(labels),
    }
    entries = (_field(1, _field(1, key.encode()) + _field(2, value)) for key, value in values.items())
    return _field(1, b"".join(entries))


def _bytes(value: bytes) -> bytes:
    return _field(1, _field(1, value))  # Feature.bytes_list, BytesList.value


def _integers(values: Sequence[int]) -> bytes:
    return _field(3, _field(1, b"".join(_varint(int(value)) for value in values)))  # Feature.int64_list, packed


def _field(number: int, content: bytes) -> bytes:
    return b"".join((_varint(number << 3 | 2), _varint(len(content)), content))  # wire type 2: bytes after their length


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])
