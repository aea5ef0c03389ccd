"""Image files with one flaw each, and copies of images as the world makes them."""

import functools
import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageEnhance


@functools.cache
def picture(seed: int, width: int = 160, height: int = 120) -> PIL.Image.Image:
    """A picture unlike that of any other seed: coloured noise, coarse and fine, as photographs have both."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            PIL.Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).resize((width, height), 2), float
        )
        for side in (4, 8, 16)
    ]
    return PIL.Image.fromarray(np.average(layers, axis=0, weights=(3, 2, 1)).round().astype(np.uint8))


def saved(image: PIL.Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG file by the book (its specification, section 11), of kinds that Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def rotated(image: PIL.Image.Image) -> bytes:
    exif = PIL.Image.Exif()
    exif[274] = 6
    return saved(image, "JPEG", exif=exif)


def deep(seed: int) -> bytes:
    """RGB of 16 bits a channel."""
    pixels = np.asarray(picture(seed, 16, 16)).astype(">u2") * 257
    return png(16, 16, 16, 2, b"".join(b"\0" + row.tobytes() for row in pixels))


# The file's name tells what is to be found; the flaws are those of a person's list, not of the code.
FILES = {
    "empty.jpg": b"",
    "text.png": b"<html>404</html>",
    "truncated.jpg": saved(picture(1), "JPEG")[:-400],
    "truncated.png": saved(picture(2))[:-300],
    "bomb.png": png(20_000, 20_000, 1, 0, b""),
    "one_pixel.gif": saved(PIL.Image.new("RGB", (1, 1)), "GIF"),
    "tiny.png": saved(picture(3, 40, 3)),
    "constant.png": saved(PIL.Image.new("RGB", (30, 30), (9, 9, 9))),
    "stretched.png": saved(picture(4, 200, 20)),
    "animated.gif": saved(picture(5), "GIF", save_all=True, append_images=[picture(6), picture(7)]),
    "cmyk.jpg": saved(picture(8).convert("CMYK"), "JPEG"),
    "grey.jpg": saved(picture(9).convert("L"), "JPEG"),
    "transparent.png": saved(picture(10).convert("RGBA")),
    "deep.png": deep(11),
    "deep_grey.png": saved(PIL.Image.fromarray(np.asarray(picture(12).convert("L")).astype(np.uint16) * 257)),
    "rotated.jpg": rotated(picture(13)),
    "a_png.jpg": saved(picture(14)),
    "fine.jpg": saved(picture(15), "JPEG"),
    "fine.webp": saved(picture(16), "WEBP"),
}

COPIES = {
    "half": lambda image: image.resize((image.width // 2, image.height // 2), PIL.Image.Resampling.LANCZOS),
    "twice": lambda image: image.resize((image.width * 2, image.height * 2), PIL.Image.Resampling.BICUBIC),
    "quality_50": lambda image: PIL.Image.open(io.BytesIO(saved(image, "JPEG", quality=50))).convert("RGB"),
    "brighter": lambda image: PIL.ImageEnhance.Brightness(image).enhance(1.15),
    "cropped": lambda image: image.crop(
        (image.width // 100, image.height // 100, image.width - image.width // 100, image.height - image.height // 100)
    ),
    "grey": lambda image: image.convert("L").convert("RGB"),
}
