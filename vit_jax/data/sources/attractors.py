"""Random iterated function systems and their attractors, many drawn at once.

Sampled through their singular values as in Anderson and Farrell, "Improving Fractal Pre-training" (arXiv 2110.03091),
which makes nearly all of them worth a look.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SETTLE = 12  # steps until a walker is on the attractor, to the eye
DRAWN = 16  # steps that are drawn
POINTS_PER_PIXEL = 10
LARGEST_STRETCH = 0.95  # largest singular value of a map; below 1, so that the system has an attractor


class Maps(NamedTuple):
    """Contractions of the plane, point -> direct * point + mirrored * conjugate(point) + shift: complex (..., maps).

    As complex numbers every affine map reads so; |direct| + |mirrored| is its larger singular value, and the
    difference of the two its smaller.
    """

    direct: np.ndarray
    mirrored: np.ndarray
    shift: np.ndarray


def choose_maps(rng: np.random.Generator) -> Maps:
    """Returns the first system (maps,) drawn from `rng` whose picture is neither a few specks nor a blot."""
    while True:
        maps = sample_maps(rng)
        seen = draw(Maps(*(part[None] for part in maps)), (32, 32), np.random.default_rng(0))[0] > 0
        wide_enough = min(seen.any(axis=0).sum(), seen.any(axis=1).sum()) >= 12
        if wide_enough and 0.15 < seen.mean() < 0.6:
            return maps


def sample_maps(rng: np.random.Generator) -> Maps:
    """Returns two to eight contractions (Anderson and Farrell, section 3.2): complex (maps,)."""
    count = int(rng.integers(2, 9))
    singular = sample_singular_values(count, rng.uniform((5 + count) / 2, (6 + count) / 2), rng)
    larger, smaller = np.minimum(singular, LARGEST_STRETCH).T
    smaller = smaller * rng.choice([-1.0, 1.0], count)
    turns = np.exp(1j * rng.uniform(-math.pi, math.pi, (2, count)))
    shift = rng.uniform(-1, 1, (2, count))
    return Maps((larger + smaller) / 2 * turns[0], (larger - smaller) / 2 * turns[1], shift[0] + 1j * shift[1])


def sample_singular_values(count: int, total: float, rng: np.random.Generator) -> np.ndarray:
    """Returns (count, 2) values in 0..1, larger first, with sum(larger) + 2 sum(smaller) = `total` (their algorithm 2).

    That sum tells how well a system fills the plane without smearing it; `total` must lie within 0..3 count.
    """
    values = np.empty((count, 2))
    low, high = total - 3 * count + 3, total
    for larger_smaller in values[:-1]:
        larger = rng.uniform(max(0, low / 3), min(1, high))
        low, high = low - larger, high - larger
        smaller = rng.uniform(max(0, low / 2), min(larger, high / 2))
        low, high = low - 2 * smaller + 3, high - 2 * smaller
        larger_smaller[:] = larger, smaller
    smaller = rng.uniform(max(0, (high - 1) / 2), high / 3)
    values[-1] = high - 2 * smaller, smaller
    return values


def vary(maps: Maps, instances: int, rng: np.random.Generator) -> Maps:
    """Returns systems (instances, maps) near `maps`: each map turned, shrunk and shifted a little.

    Each system as a whole is turned by up to 30 degrees, and every second one mirrored.
    """
    shape = (instances, len(maps.shift))
    change = rng.uniform(0.94, 1, shape) * np.exp(1j * rng.normal(0, 0.06, shape))
    shift = maps.shift + rng.normal(0, 0.04, shape) + 1j * rng.normal(0, 0.04, shape)
    turn = np.exp(1j * rng.uniform(-math.pi / 6, math.pi / 6, (instances, 1)))
    varied = Maps(maps.direct * change, maps.mirrored * change * turn**2, shift * turn)
    flipped = rng.random((instances, 1)) < 0.5
    return Maps(*(np.where(flipped, part.conj(), part) for part in varied))


def draw(maps: Maps, image_size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Returns the attractors of a batch of systems (batch, maps), framed at random.

    float32 (batch, height, width): how thick the points lie, on a log scale, from 0 (none) to 1.
    """
    batch = len(maps.shift)
    height, width = image_size
    clouds = walk(maps, max(256, height * width * POINTS_PER_PIXEL // DRAWN), rng)

    settled = next(itertools.islice(clouds, SETTLE, None))
    left, top = settled.real.min(axis=1), settled.imag.min(axis=1)
    spread_x, spread_y = settled.real.max(axis=1) - left, settled.imag.max(axis=1) - top
    scale = rng.uniform(0.75, 1, batch).astype(np.float32)
    scale *= np.minimum((width - 1) / np.maximum(spread_x, 1e-3), (height - 1) / np.maximum(spread_y, 1e-3))
    left -= rng.random(batch, np.float32) * (width / scale - spread_x)
    top -= rng.random(batch, np.float32) * (height / scale - spread_y)
    origin = (left + 1j * top)[:, None]

    counts = np.zeros(batch * height * width, np.int64)
    first = np.arange(batch)[:, None] * (height * width)
    for cloud in itertools.islice(clouds, DRAWN):
        cloud = (cloud - origin) * scale[:, None]
        column, row = np.floor(cloud.real).astype(int), np.floor(cloud.imag).astype(int)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        counts += np.bincount((first + row * width + column)[inside], minlength=len(counts))
    density = np.log1p(counts.reshape(batch, height, width).astype(np.float32))
    return density / np.maximum(density.max(axis=(1, 2), keepdims=True), 1e-6)


def walk(maps: Maps, walkers: int, rng: np.random.Generator) -> Iterator[NDArray[np.complex64]]:
    """Plays the chaos game for a batch of systems at once; yields the walkers: complex64 (batch, walkers).

    They start at the origin. At each step a map takes a random share of them, by the area that it leaves of the
    plane: the same walkers and the same share in every system, so that they move in blocks, with nothing gathered.
    """
    batch, count = maps.shift.shape
    direct, mirrored, shift = (part.astype(np.complex64)[..., None] for part in maps)
    area = np.abs(np.abs(maps.direct) ** 2 - np.abs(maps.mirrored) ** 2).mean(axis=0) + 0.01
    ends = np.round(np.cumsum(area) / area.sum() * walkers).astype(int)
    blocks = [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
    cloud = np.zeros((batch, walkers), np.complex64)
    while True:
        cloud = cloud[:, rng.permutation(walkers)]
        for n in range(count):
            part = cloud[:, blocks[n]]
            cloud[:, blocks[n]] = direct[:, n] * part + mirrored[:, n] * part.conj() + shift[:, n]
        yield cloud
