"""From a source to batches: batch t is a pure function of (seed, t), read ahead by threads.

A thread makes a piece of a batch at a time, not one example, and the order of an epoch is one permutation held in
memory: the bookkeeping must stay small even beside the decoding of a tiny image.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from vit_jax.data.examples import Source
from vit_jax.data.images.decode import decode
from vit_jax.data.images.preprocess import Transform
from vit_jax.data.read_ahead import Batch, Read, ReadAhead, join
from vit_jax.errors import UserError

PIECE = 32  # rows that a thread makes at a time


def training(
    source: Source, transform: Transform, batch_size: int, seed: int, threads: int = 4, rows: slice = slice(None)
) -> "Batches":
    """Returns endless batches: "image" uint8 (batch, height, width, 3), "label" int32 (batch,).

    Where examples may have several labels, "label" is (batch, most), -1 where one has fewer.

    The source is gone through again and again, in a new order each time; batches run on from one epoch into the next.
    What `transform` draws depends on the seed and on the example's place in that stream, so that neither the number
    of threads nor the step that is asked for first changes a batch. `rows` keeps those rows of every batch alone, as
    one host of many wants them.
    """
    _check(source, batch_size, threads)
    if seed < 0:
        raise UserError(f"the data seed is {seed}; give 0 or more")
    return Batches(_Shuffled(source, transform, seed), batch_size, threads, rows, None)


def evaluation(
    source: Source, transform: Transform, batch_size: int, threads: int = 4, rows: slice = slice(None)
) -> "Batches":
    """Returns the batches that hold every example once, in order; `len()` of them.

    As in training, and "index" int32 (batch,), the example's in the source, and "mask" float32 (batch,): 1, or 0 for
    the rows that fill up the last batch, which repeat the last example.
    """
    _check(source, batch_size, threads)
    return Batches(_InOrder(source, transform), batch_size, threads, rows, -(-len(source) // batch_size))


class Batches:
    """Batch t holds the rows `t * batch_size ...` of the stream behind `read`; `steps` of them, None for no end.

    `batches[t]` makes batch t here and now; `since(t)` and iteration make them ahead in `threads` threads.
    """

    def __init__(self, read: Read, batch_size: int, threads: int, rows: slice, steps: int | None):
        self.read = read
        self.batch_size = batch_size
        self.threads = threads
        self.rows = rows
        self.steps = steps

    def __len__(self) -> int:
        if self.steps is None:
            raise TypeError("training batches have no end")
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if step < 0 or (self.steps is not None and step >= self.steps):
            raise IndexError(f"batch {step} of {self.steps}")
        return join([self.read(piece) for piece in self._pieces(step)])

    def __iter__(self) -> Iterator[Batch]:
        with self.since(0) as batches:
            yield from batches

    def since(self, step: int) -> ReadAhead:
        """Returns an iterator over batches `step`, `step + 1`, ... to be used in `with`, or closed."""
        steps = itertools.count(step) if self.steps is None else range(step, self.steps)
        return ReadAhead(self.read, map(self._pieces, steps), self.threads)

    def _pieces(self, step: int) -> list[range]:
        """Returns the positions of batch `step` in the stream, a piece each."""
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)[self.rows]
        return [positions[start : start + PIECE] for start in range(0, len(positions), PIECE)]


class _Shuffled:
    """The source's examples without end, shuffled anew for every epoch."""

    def __init__(self, source: Source, transform: Transform, seed: int):
        self.source = source
        self.transform = transform
        self.seed = seed

    def __call__(self, positions: range) -> Batch:
        size = len(self.source)
        epochs_and_places = [divmod(position, size) for position in positions]
        indices = [int(_order(size, self.seed, epoch)[place]) for epoch, place in epochs_and_places]
        return _rows(self.source, self.transform, indices, _generators(self.seed, positions))


class _InOrder:
    """The source's examples in their order, the last of them repeated without end."""

    def __init__(self, source: Source, transform: Transform):
        self.source = source
        self.transform = transform

    def __call__(self, positions: range) -> Batch:
        size = len(self.source)
        indices = [min(position, size - 1) for position in positions]
        rows = _rows(self.source, self.transform, indices, _generators(0, positions))
        mask = np.array([position < size for position in positions], np.float32)
        return rows | {"index": np.array(indices, np.int32), "mask": mask}


def _rows(
    source: Source, transform: Transform, indices: Iterable[int], generators: Iterable[np.random.Generator]
) -> Batch:
    examples = [source[index] for index in indices]
    images = [
        transform(decode(example.image, example.name), rng) for example, rng in zip(examples, generators, strict=True)
    ]
    return {"image": np.stack(images), "label": _labels([example.label for example in examples], source.most_labels)}


def _labels(labels: list[int | tuple[int, ...]], most: int | None) -> np.ndarray:
    """Returns int32 (examples,); where an example may have several, (examples, most), -1 where it has fewer."""
    if most is None:
        return np.array(labels, np.int32)
    rows = np.full((len(labels), most), -1, np.int32)
    for row, several in zip(rows, labels, strict=True):
        several = several if isinstance(several, tuple) else (several,)
        row[: len(several)] = several
    return rows


def _generators(seed: int, positions: range) -> Iterator[np.random.Generator]:
    """Yields for each position a generator whose draws depend on (seed, position) alone, good until the next.

    One generator set to a new place in Philox's sequence each time: a tenth of the time that making one takes.
    """
    bits = np.random.Philox(seed)
    state = bits.state
    generator = np.random.Generator(bits)
    for position in positions:
        state["state"]["counter"][:] = (0, 0, 0, position)
        bits.state = state
        yield generator


@functools.lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the order of an epoch; two of them are in use at a time, at its end."""
    return np.random.default_rng((seed, epoch)).permutation(size)


def _check(source: Source, batch_size: int, threads: int) -> None:
    if batch_size < 1 or threads < 0:
        raise UserError(f"batch_size {batch_size} and {threads} threads; give at least 1 and 0")
    if not len(source):
        raise UserError("the data source is empty; there is nothing to make batches of")
