"""Pictures for a page that stands alone: uint8 arrays, and PNG inside the page."""

import base64
import html
import io

import numpy as np
import PIL.Image

# Cividis (Nuñez et al., 2018), dark to light, at even steps.
CIVIDIS = ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838")


def png(pixels: np.ndarray) -> bytes:
    """Returns uint8 pixels (height, width[, 3]) as a PNG file."""
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def inline(pixels: np.ndarray) -> str:
    """Returns the address of a picture that lies in the address itself."""
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"


def picture(pixels: np.ndarray, description: str, width: int) -> str:
    """Returns an `img` element that holds uint8 pixels (height, width[, 3]), shown `width` CSS pixels wide."""
    return f'<img width="{width}" alt="{html.escape(description)}" src="{inline(pixels)}">'


def in_svg(pixels: np.ndarray, left: float, top: float, width: float, height: float) -> str:
    """Returns an `image` element of SVG that holds uint8 pixels, stretched to `width` and `height`."""
    return (
        f'<image x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="{inline(pixels)}"/>'
    )


def coloured(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns values (…) as uint8 colours (…, 3): `low` dark blue, `high` yellow."""
    anchors = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in CIVIDIS], np.float32)
    place = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (len(anchors) - 1)
    below = np.minimum(place.astype(int), len(anchors) - 2)
    share = (place - below)[..., None]
    return (anchors[below] * (1 - share) + anchors[below + 1] * share).round().astype(np.uint8)


def mosaic(tiles: np.ndarray, columns: int, gap: int = 1, magnify: int = 1) -> np.ndarray:
    """Returns uint8 tiles (count, height, width, 3) side by side on white, row by row: one image."""
    tiles = tiles.repeat(magnify, axis=1).repeat(magnify, axis=2)
    count, height, width, channels = tiles.shape
    rows = -(-count // columns)
    page = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        page[top : top + height, left : left + width] = tile
    return page


def heat(reached: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Returns the colours of what is `reached` (rows, columns), scaled by itself, in the size of an image `like`."""
    row, column = (np.arange(side) * count // side for side, count in zip(like.shape, reached.shape, strict=False))
    return coloured(reached[np.ix_(row, column)], float(reached.min()), float(reached.max()))


def multiplied(image: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Returns a uint8 image (height, width, 3) in the colours of what is `reached`: for light figures on black."""
    light = image.mean(axis=-1, keepdims=True) / 255
    return (heat(reached, image) * (0.35 + 0.65 * light)).round().astype(np.uint8)


def blended(image: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Returns a uint8 image (height, width, 3) in grey under the colours of what is `reached`: for any image."""
    grey = image.mean(axis=-1, keepdims=True)
    return (0.55 * heat(reached, image) + 0.45 * grey).round().astype(np.uint8)


def components(filters: np.ndarray, columns: int, gap: int, magnify: int) -> np.ndarray:
    """Returns filters in [0, 1] (count, height, width, 1 | 3), side by side."""
    tiles = np.broadcast_to((filters * 255).round().astype(np.uint8), (*filters.shape[:3], 3))
    return mosaic(tiles, columns, gap, magnify)


def similarities(similarity: np.ndarray, low: float, gap: int, magnify: int) -> np.ndarray:
    """Returns (rows, columns, places, places) cosines: a map for each row and column, in colours from `low` to 1."""
    maps = similarity.reshape(-1, *similarity.shape[2:])
    return mosaic(coloured(maps, low, 1.0), similarity.shape[1], gap, magnify)


def pair(image: np.ndarray, attended: np.ndarray, description: str, caption: str, width: int) -> str:
    """Returns a `figure` of an image beside itself with the attention over it, each `width` CSS pixels wide."""
    both = picture(image, description, width) + picture(attended, f"{description}, attention", width)
    return f'<figure><div class="pair">{both}</div><figcaption>{caption}</figcaption></figure>'
