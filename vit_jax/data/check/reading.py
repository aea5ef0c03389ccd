"""A source read once, every image of it, by one process or many: the same facts whatever their number."""

import concurrent.futures
import concurrent.futures.process
import dataclasses
import hashlib
import multiprocessing
from collections.abc import Iterator

import numpy as np

from vit_jax.data.check.look import LOST, WAVES, Flaw, Looked, look
from vit_jax.data.examples import Source
from vit_jax.data.workers import serve_parent
from vit_jax.errors import UserError, one_line

PIECE = 256  # images that a process looks at before it hands over
REASONS = 100  # of lost images that are kept, of a piece

# What is kept of an image: 100 bytes.
FACTS = np.dtype(
    [
        ("label", np.int64),
        ("flaws", np.uint32),
        ("height", np.uint32),
        ("width", np.uint32),
        ("content", np.uint64, 2),
        ("sketch", np.int8, WAVES * WAVES),
    ]
)


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was found in some images, one after the other.

    Attributes:
      facts: of each, FACTS (images,). "label" is the class, or where an image has several, a hash of them.
      classes: how many images each class has, int64 (classes,).
      sums: of the means and of the mean squares of the images that are not lost, by channel, float64 (2, 3).
      reasons: why the first of those that are lost are lost, by index.
    """

    facts: np.ndarray
    classes: np.ndarray
    sums: np.ndarray
    reasons: dict[int, str]

    @property
    def sound(self) -> np.ndarray:
        """Whether each image can be read, bool (images,)."""
        return self.facts["flaws"] & LOST == 0

    @property
    def mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation by channel, (3,) each, of pixels in 0..1; NaN if no image can be read.

        Every image counts the same, whatever its size, as it does in training.
        """
        count = self.sound.sum()
        if not count:
            return np.full(3, np.nan), np.full(3, np.nan)
        mean, square = self.sums / count
        return mean, np.sqrt(np.maximum(square - mean**2, 0))


def read(source: Source, processes: int = 1) -> Iterator[Survey]:
    """Yields what was found in all images of `source`, piece by piece, in their order.

    Raises:
      UserError: a process died.
    """
    pieces = [range(len(source))[start : start + PIECE] for start in range(0, len(source), PIECE)]
    processes = min(processes, len(pieces))
    if processes <= 1:
        yield from (survey(source, piece) for piece in pieces)
        return
    executor = concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _take, (source,))
    try:
        yield from executor.map(_survey, pieces)
    except concurrent.futures.process.BrokenProcessPool:
        raise UserError(f"one of {processes} processes died, out of memory perhaps; give fewer --processes") from None
    finally:
        executor.shutdown(cancel_futures=True)


def joined(found: list[Survey]) -> Survey:
    """Returns the surveys of pieces as one. Sums are added in the order of the images, so that no digit differs."""
    starts = np.cumsum([0, *(len(each.facts) for each in found)])
    reasons = [
        (int(start) + index, reason)
        for start, each in zip(starts, found, strict=False)
        for index, reason in each.reasons.items()
    ]
    return Survey(
        facts=np.concatenate([each.facts for each in found]),
        classes=np.sum([each.classes for each in found], axis=0),
        sums=np.sum([each.sums for each in found], axis=0),
        reasons=dict(reasons),
    )


def survey(source: Source, piece: range) -> Survey:
    """Returns what is found in a piece of a source."""
    facts = np.zeros(len(piece), FACTS)
    classes = np.zeros(len(source.class_names), np.int64)
    sums = np.zeros((2, 3))
    reasons: dict[int, str] = {}
    for row, index in enumerate(piece):
        labels, looked = _looked(source, index)
        classes += np.bincount(labels, minlength=len(classes))
        sums += looked.mean, looked.square
        content = np.frombuffer(looked.content, "<u8")
        facts[row] = (_label(labels), looked.flaws, looked.height, looked.width, content, looked.sketch)
        if looked.reason and len(reasons) < REASONS:
            reasons[row] = one_line(looked.reason)
    return Survey(facts, classes, sums, reasons)


def _looked(source: Source, index: int) -> tuple[tuple[int, ...], Looked]:
    try:
        example = source[index]
    except UserError as error:
        return (), Looked(Flaw.UNREADABLE, str(error))
    except Exception as error:  # whatever a library says to a damaged record
        return (), Looked(Flaw.UNREADABLE, f"example {index}: {type(error).__name__}: {error}")
    labels = example.labels
    return labels, look(example)


def _label(labels: tuple[int, ...]) -> int:
    """Returns a number that tells one label, or several in any order, from others; -1 for none."""
    if len(labels) < 2:
        return labels[0] if labels else -1
    return int.from_bytes(hashlib.sha256(str(sorted(labels)).encode()).digest()[:7], "big") + 2**56


_source: Source  # of a process that looks at pieces


def _take(source: Source) -> None:
    global _source
    _source = source
    serve_parent()


def _survey(piece: range) -> Survey:
    return survey(_source, piece)
