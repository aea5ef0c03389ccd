"""Pictures for a page that stands alone: curves and intervals as SVG, arrays as PNG inside the page."""

import base64
import dataclasses
import html
import io
from collections.abc import Sequence

import numpy as np
import PIL.Image

# Okabe and Ito's palette, told apart by colour-blind readers too; dashes tell the lines apart on a grey print.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
# Cividis (Nuñez et al., 2018), dark to light, at even steps.
CIVIDIS = ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838")
WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 14, 40


@dataclasses.dataclass(frozen=True)
class Line:
    """A named curve through (`x`, `y`)."""

    name: str
    x: Sequence[int]
    y: Sequence[float]
    colour: str
    dashes: str = ""


@dataclasses.dataclass(frozen=True)
class Intervals:
    """A named row of points (`y`), each with the interval (`low`, `high`) it lies in, one for each group of a chart."""

    name: str
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: str
    shape: str  # of a point: a key of SHAPES


def lines(series: Sequence[Line], x_label: str, y_label: str) -> str:
    """Returns an SVG of curves over a common x, both axes from 0 on."""
    right = float(max(max(line.x) for line in series))
    frame = _Frame(right, ticks(right, 5), ticks(max(max(line.y) for line in series), 4))
    drawn = []
    for line in series:
        points = " ".join(f"{frame.x(float(x)):.1f},{frame.y(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2" '
            f'stroke-dasharray="{line.dashes}"/>'
        )
    description = f"{y_label} by {x_label}: {', '.join(line.name for line in series)}"
    numbers = [(frame.x(tick), f"{tick:,g}") for tick in frame.x_ticks]
    return _svg(description, frame.axes(numbers, x_label, y_label) + "".join(drawn))


SHAPES = {
    "circle": '<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>',
    "square": '<rect x="{x:.1f}" y="{y:.1f}" width="7" height="7" transform="translate(-3.5 -3.5)" fill="{colour}"/>',
    "diamond": '<path d="M{x:.1f} {y:.1f}m0 -5l5 5l-5 5l-5 -5z" fill="{colour}"/>',
}


def intervals(series: Sequence[Intervals], groups: Sequence[str], x_label: str, y_label: str) -> str:
    """Returns an SVG of points with their intervals, side by side in each group; y is a share, up to 1."""
    bottom = np.floor(10 * min(min(each.low) for each in series)) / 10
    frame = _Frame(float(len(groups)), [], np.linspace(bottom, 1, round(10 * (1 - bottom)) + 1).tolist())
    drawn = []
    for place, each in enumerate(series):
        offset = 0.5 + 0.16 * (place - (len(series) - 1) / 2)
        for group, (y, low, high) in enumerate(zip(each.y, each.low, each.high, strict=True)):
            x = frame.x(group + offset)
            drawn.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(low):.1f}" y2="{frame.y(high):.1f}" '
                f'stroke="{each.colour}" stroke-width="2"/>'
                + SHAPES[each.shape].format(x=x, y=frame.y(y), colour=each.colour)
            )
    description = f"{y_label} by {x_label}: {', '.join(each.name for each in series)}"
    numbers = [(frame.x(group + 0.5), name) for group, name in enumerate(groups)]
    return _svg(description, frame.axes(numbers, x_label, y_label) + "".join(drawn))


def legend(series: Sequence[Line | Intervals]) -> str:
    """Returns the names of the series with their marks, as HTML."""
    return f'<p class="legend">{"".join(_key(each) for each in series)}</p>'


def ticks(largest: float, about: int) -> list[float]:
    """Returns round numbers from 0 to `largest` or just above it, some `about` of them.

    >>> ticks(1500.0, 5), ticks(2.1, 4)
    ([0.0, 500.0, 1000.0, 1500.0], [0.0, 1.0, 2.0, 3.0])
    """
    rough = max(largest, 1e-9) / about
    unit = 10.0 ** np.floor(np.log10(rough))
    step = float(next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999))
    return [round(step * n, 10) for n in range(int(np.ceil(largest / step - 1e-9)) + 1)]


def picture(pixels: np.ndarray, description: str, width: int, kind: str = "") -> str:
    """Returns an `img` element that holds uint8 pixels (height, width[, 3]), shown `width` CSS pixels wide."""
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode()
    class_ = f' class="{kind}"' if kind else ""
    return f'<img{class_} width="{width}" alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


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


class _Frame:
    """Where numbers lie on the drawing: x from 0 to `right`, y from the first tick to the last."""

    def __init__(self, right: float, x_ticks: Sequence[float], y_ticks: Sequence[float]):
        self.right = right
        self.x_ticks = [tick for tick in x_ticks if tick <= right]
        self.y_ticks = y_ticks

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.right

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    def axes(self, numbers: Sequence[tuple[float, str]], x_label: str, y_label: str) -> str:
        """Returns grid lines, numbers and labels."""
        drawn = []
        for tick in self.y_ticks:
            y = self.y(tick)
            drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            drawn.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        for x, number in numbers:
            drawn.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number}</text>')
        middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        drawn.append(f'<text x="{middle_x}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}</text>')
        turn = f"translate(12 {middle_y}) rotate(-90)"
        drawn.append(f'<text transform="{turn}" text-anchor="middle">{html.escape(y_label)}</text>')
        return "".join(drawn)


def _svg(description: str, content: str) -> str:
    title = html.escape(description)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{content}</svg>'


def _key(each: Line | Intervals) -> str:
    if isinstance(each, Line):
        mark = (
            f'<line x1="0" x2="28" y1="7" y2="7" stroke="{each.colour}" stroke-width="2" '
            f'stroke-dasharray="{each.dashes}"/>'
        )
    else:
        mark = SHAPES[each.shape].format(x=14, y=7, colour=each.colour)
    return f'<span><svg viewBox="0 0 28 14" width="28" height="14">{mark}</svg> {html.escape(each.name)}</span>'
