"""Pictures with the detail of photographs, which nobody owns."""

import io
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw


def photo(height: int, width: int, rng: np.random.Generator) -> PIL.Image.Image:
    """Returns textures whose amplitude falls as 1/f^1.2, less of colour than of light, and things with sharp edges.

    Of 375 x 500 pixels at JPEG's quality 90 some 97 KB: ImageNet's have 110 on average, a little larger.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf

    def texture() -> np.ndarray:
        phases = rng.normal(size=(2, *frequency.shape))
        waves = np.fft.irfft2((phases[0] + 1j * phases[1]) / frequency**1.2, (height, width))
        return waves / waves.std()

    light, blue, red = 128 + 52 * texture(), 22 * texture(), 22 * texture()
    colours = np.stack([light + 1.402 * red, light - 0.344 * blue - 0.714 * red, light + 1.772 * blue], -1)
    picture = PIL.Image.fromarray(colours.clip(0, 255).astype(np.uint8))
    draw = PIL.ImageDraw.Draw(picture, "RGBA")
    for _ in range(12):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        right, bottom = left + int(rng.integers(4, max(5, width // 3))), top + int(rng.integers(4, max(5, height // 3)))
        draw.ellipse(
            (left, top, right, bottom), fill=(*map(int, rng.integers(256, size=3)), int(rng.integers(60, 200)))
        )
    return picture


def encoded(picture: PIL.Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """Returns the picture as a file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()
