"""Charts as SVG, for a page that stands alone or a file of their own: curves, dots, intervals."""

import dataclasses
import html
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

# Okabe and Ito's palette, told apart by colour-blind readers too; dashes tell the lines apart on a grey print.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
INK, GRID = "#5b6672", "#d9dee4"
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

    @property
    def mark(self) -> str:
        """A piece of it."""
        return (
            f'<line x1="0" x2="28" y1="7" y2="7" stroke="{self.colour}" stroke-width="2" '
            f'stroke-dasharray="{self.dashes}"/>'
        )

    def drawn(self, frame: "Frame") -> str:
        """Returns the curve."""
        points = " ".join(f"{frame.x(float(x)):.1f},{frame.y(y):.1f}" for x, y in zip(self.x, self.y, strict=True))
        return (
            f'<polyline points="{points}" fill="none" stroke="{self.colour}" stroke-width="2" '
            f'stroke-dasharray="{self.dashes}"/>'
        )


@dataclasses.dataclass(frozen=True)
class Dots:
    """Named dots at (`x`, `y`), which shine through one another."""

    name: str
    x: Sequence[int]
    y: Sequence[float]
    colour: str

    @property
    def mark(self) -> str:
        """A dot."""
        return self._dot(14.0, 7.0)

    def drawn(self, frame: "Frame") -> str:
        """Returns the dots."""
        return "".join(self._dot(frame.x(float(x)), frame.y(y)) for x, y in zip(self.x, self.y, strict=True))

    def _dot(self, x: float, y: float) -> str:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{self.colour}" fill-opacity="0.55"/>'


@dataclasses.dataclass(frozen=True)
class Intervals:
    """A named row of points (`y`), each with the interval (`low`, `high`) it lies in, one for each group of a chart."""

    name: str
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: str
    shape: str  # of a point: a key of SHAPES

    @property
    def mark(self) -> str:
        """A point."""
        return SHAPES[self.shape].format(x=14, y=7, colour=self.colour)


Series: TypeAlias = Sequence[Line] | Sequence[Line | Dots] | Sequence[Intervals]


def lines(series: Sequence[Line], x_label: str, y_label: str) -> str:
    """Returns an SVG of curves over a common x, both axes from 0 on."""
    right = float(max(max(line.x) for line in series))
    frame = Frame(0.0, right, ticks(max(max(line.y) for line in series), 4))
    numbers = [(tick, f"{tick:,g}") for tick in ticks(right, 5) if tick <= right]
    drawn = "".join(line.drawn(frame) for line in series)
    return svg(_described(series, x_label, y_label), frame.axes(numbers, x_label, y_label) + drawn)


def by_depth(series: Sequence[Line | Dots], first: int, x_label: str, y_label: str) -> str:
    """Returns an SVG of what depends on the depth in a network, x a whole number from `first` on, y from 0 on.

    The names of the series stand above it.
    """
    last = max(max(each.x) for each in series)
    highest = max(max(each.y) for each in series)
    frame = Frame(first - 0.5, last + 0.5, ticks(float(highest) or 1.0, 4))
    step = -(-(last + 1 - first) // 13)  # so many numbers fit side by side
    numbers = [(float(x), str(x)) for x in range(first, last + 1) if x % step == 0]
    drawn = "".join(each.drawn(frame) for each in series)
    keys, height = _keys(series)
    description = _described(series, x_label, y_label)
    return svg(description, keys + frame.axes(numbers, x_label, y_label) + drawn, above=height)


SHAPES = {
    "circle": '<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>',
    "square": '<rect x="{x:.1f}" y="{y:.1f}" width="7" height="7" transform="translate(-3.5 -3.5)" fill="{colour}"/>',
    "diamond": '<path d="M{x:.1f} {y:.1f}m0 -5l5 5l-5 5l-5 -5z" fill="{colour}"/>',
}


def intervals(series: Sequence[Intervals], groups: Sequence[str], x_label: str, y_label: str) -> str:
    """Returns an SVG of points with their intervals, side by side in each group; y is a share, up to 1."""
    bottom = np.floor(10 * min(min(each.low) for each in series)) / 10
    frame = Frame(0.0, float(len(groups)), np.linspace(bottom, 1, round(10 * (1 - bottom)) + 1).tolist())
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
    numbers = [(group + 0.5, name) for group, name in enumerate(groups)]
    return svg(_described(series, x_label, y_label), frame.axes(numbers, x_label, y_label) + "".join(drawn))


def legend(series: Series) -> str:
    """Returns the names of the series with their marks, as HTML."""
    keys = (
        f'<span><svg viewBox="0 0 28 14" width="28" height="14">{each.mark}</svg> {html.escape(each.name)}</span>'
        for each in series
    )
    return f'<p class="legend">{"".join(keys)}</p>'


def _keys(series: Series) -> tuple[str, float]:
    """Returns the names of the series with their marks as SVG that stands above 0, and its height."""
    rows: list[list[tuple[float, Line | Dots | Intervals]]] = [[]]
    x = float(LEFT)
    for each in series:
        width = 34 + 6.4 * len(each.name)  # of a letter: about, as fonts differ
        if rows[-1] and x + width > WIDTH:
            rows.append([])
            x = float(LEFT)
        rows[-1].append((x, each))
        x += width + 14
    drawn = [
        f'<g transform="translate({x:.1f} {18 * (place - len(rows)):.1f})">{each.mark}'
        f'<text x="34" y="11">{html.escape(each.name)}</text></g>'
        for place, row in enumerate(rows)
        for x, each in row
    ]
    return "".join(drawn), 18.0 * len(rows) + 4


def ticks(largest: float, about: int) -> list[float]:
    """Returns round numbers from 0 to `largest` or just above it, some `about` of them.

    >>> ticks(1500.0, 5), ticks(2.1, 4)
    ([0.0, 500.0, 1000.0, 1500.0], [0.0, 1.0, 2.0, 3.0])
    """
    rough = max(largest, 1e-9) / about
    unit = 10.0 ** np.floor(np.log10(rough))
    step = float(next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999))
    return [round(step * n, 10) for n in range(int(np.ceil(largest / step - 1e-9)) + 1)]


class Frame:
    """Where numbers lie on the drawing: x from `left` to `right`, y from the first tick to the last."""

    def __init__(self, left: float, right: float, y_ticks: Sequence[float]):
        self.left, self.right, self.y_ticks = left, right, y_ticks

    def x(self, value: float) -> float:
        """Returns where a value of x lies, from the left."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.left) / (self.right - self.left)

    def y(self, value: float) -> float:
        """Returns where a value of y lies, from the top."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    def axes(self, numbers: Sequence[tuple[float, str]], x_label: str, y_label: str) -> str:
        """Returns grid lines, labels, and the numbers: at which x stands what."""
        drawn = []
        for tick in self.y_ticks:
            y = self.y(tick)
            drawn.append(f'<line stroke="{GRID}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            drawn.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        for x, number in numbers:
            drawn.append(f'<text x="{self.x(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number}</text>')
        middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        drawn.append(f'<text x="{middle_x}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}</text>')
        turn = f"translate(12 {middle_y}) rotate(-90)"
        drawn.append(f'<text transform="{turn}" text-anchor="middle">{html.escape(y_label)}</text>')
        return "".join(drawn)


def svg(description: str, content: str, height: float = HEIGHT, above: float = 0.0) -> str:
    """Returns a drawing `WIDTH` wide that stands alone; y runs from `-above` down to `height`."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {-above:g} {WIDTH} {above + height:g}" role="img" '
        f'aria-label="{html.escape(description)}" font-family="system-ui, sans-serif" font-size="12" fill="{INK}">'
        f'<rect y="{-above:g}" width="{WIDTH}" height="{above + height:g}" fill="#fff"/>{content}</svg>'
    )


def _described(series: Series, x_label: str, y_label: str) -> str:
    return f"{y_label} by {x_label}: {', '.join(each.name for each in series)}"
