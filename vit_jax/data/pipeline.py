"""From a source to batches: batch t is a pure function of (seed, t), read ahead by threads or processes.

A worker makes a piece of a batch at a time, not one example: the bookkeeping must stay small even beside the decoding
of a tiny image.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from vit_jax.data import order, read_ahead
from vit_jax.data.examples import Source, padded
from vit_jax.data.images.picture import opened
from vit_jax.data.images.preprocess import Transform
from vit_jax.data.order import PLAIN, Order, Sampling
from vit_jax.data.read_ahead import ReadAhead, join
from vit_jax.data.unreadable import IN_A_ROW, Tally, Unreadable, UnreadableImageError
from vit_jax.data.workers import Batch, Piece, Processes, Read, Threads
from vit_jax.errors import UserError

PIECE = 32  # rows that a worker makes at a time


def training(
    source: Source,
    transform: Transform,
    batch_size: int,
    seed: int,
    threads: int = 4,
    processes: int = 0,
    rows: slice = slice(None),
    sampling: Sampling = PLAIN,
) -> "Batches":
    """Returns endless batches: "image" uint8 (batch, height, width, 3), "label" int32 (batch,).

    Where examples may have several labels, "label" is (batch, most), -1 where one has fewer.

    The source is gone through again and again, in a new order each time; batches run on from one epoch into the next.
    What `transform` draws depends on the seed and on the example's place in that stream, so that neither the number of
    workers nor the step that is asked for first changes a batch. `rows` keeps those rows of every batch alone, as one
    host of many wants them.

    An image that cannot be decoded is replaced by the next one of the source that can, with the same draws; when more
    than `sampling.unreadable_share` of the source's images were, that is an error.
    """
    _check(source, batch_size, threads, processes)
    if seed < 0:
        raise UserError(f"the data seed is {seed}; give 0 or more")
    read = _Shuffled(source, transform, seed, order.build(source, sampling, batch_size, seed))
    return Batches(read, batch_size, threads, processes, rows, None, Tally(len(source), sampling.unreadable_share))


def rows_of(host: int, hosts: int, batch_size: int) -> slice:
    """Returns the rows of every batch that one of several hosts reads: all of them together read each row once.

    Raises:
      UserError: the batch does not divide among the hosts.

    >>> rows_of(1, 4, 32)
    slice(8, 16, None)
    """
    if batch_size % hosts or not 0 <= host < hosts:
        raise UserError(f"batch_size {batch_size} does not divide among hosts, for host {host} of {hosts} (from 0)")
    return slice(host * batch_size // hosts, (host + 1) * batch_size // hosts)


def evaluation(
    source: Source,
    transform: Transform,
    batch_size: int,
    threads: int = 4,
    processes: int = 0,
    rows: slice = slice(None),
) -> "Batches":
    """Returns the batches that hold every example once, in order; `len()` of them.

    As in training, and "index" int32 (batch,), the example's in the source, and "mask" float32 (batch,): 1, or 0 for
    the rows that fill up the last batch, which repeat the last example. An image that cannot be decoded is an error.
    """
    _check(source, batch_size, threads, processes)
    steps = -(-len(source) // batch_size)
    return Batches(_InOrder(source, transform), batch_size, threads, processes, rows, steps, Tally(len(source), 0.0))


class Batches:
    """Batch t holds the rows `t * batch_size ...` of the stream behind `read`; `steps` of them, None for no end.

    `batches[t]` makes batch t here and now; `since(t)` and iteration make them ahead, in `processes` where there are
    any, else in `threads`. `tally` has what could not be read.
    """

    def __init__(
        self, read: Read, batch_size: int, threads: int, processes: int, rows: slice, steps: int | None, tally: Tally
    ):
        self.read = read
        self.batch_size = batch_size
        self.threads = threads
        self.processes = processes
        self.rows = rows
        self.steps = steps
        self.tally = tally

    def __len__(self) -> int:
        if self.steps is None:
            raise TypeError("training batches have no end")
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if step < 0 or (self.steps is not None and step >= self.steps):
            raise IndexError(f"batch {step} of {self.steps}")
        return join([self.read(places) for places in self._pieces(step)])

    def __iter__(self) -> Iterator[Batch]:
        with self.since(0) as batches:
            yield from batches

    def since(self, step: int) -> ReadAhead:
        """Returns an iterator over batches `step`, `step + 1`, ... to be used in `with`, or closed."""
        steps = itertools.count(step) if self.steps is None else range(step, self.steps)
        workers = None
        if self.processes:
            slots = read_ahead.most_in_flight(len(self._pieces(step)), self.processes)
            workers = Processes(self.read, self.processes, slots, PIECE)
        elif self.threads:
            workers = Threads(self.read, self.threads)
        return ReadAhead(self.read, map(self._pieces, steps), workers, self.tally.note)

    def _pieces(self, step: int) -> list[range]:
        """Returns the places of batch `step` in the stream, a piece each."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)[self.rows]
        return [places[start : start + PIECE] for start in range(0, len(places), PIECE)]


class _Shuffled:
    """The source's examples without end, as the order has them; what cannot be read is replaced."""

    def __init__(self, source: Source, transform: Transform, seed: int, indices_at: Order):
        self.source = source
        self.transform = transform
        self.seed = seed
        self.indices_at = indices_at

    def __call__(self, places: range) -> Piece:
        draws = _Draws(self.seed)
        unreadable: list[Unreadable] = []
        indices = self.indices_at(np.arange(places.start, places.stop, places.step)).tolist()
        found = [self._readable(index, place, draws, unreadable) for index, place in zip(indices, places, strict=True)]
        return Piece(_rows(self.source, found), tuple(unreadable))

    def _readable(self, index: int, place: int, draws: "_Draws", unreadable: list[Unreadable]) -> "_Row":
        for candidate in range(index, index + IN_A_ROW):
            candidate %= len(self.source)
            try:
                return _row(self.source, self.transform, candidate, draws.at(place))
            except UnreadableImageError as error:
                unreadable.append(Unreadable(candidate, str(error)))
        raise UserError(f"{unreadable[-1].reason}; nor can the {IN_A_ROW - 1} before it: `data check` lists them")


class _InOrder:
    """The source's examples in their order, the last of them repeated without end."""

    def __init__(self, source: Source, transform: Transform):
        self.source = source
        self.transform = transform

    def __call__(self, places: range) -> Piece:
        size = len(self.source)
        indices = [min(place, size - 1) for place in places]
        draws = _Draws(0)
        found = [
            _row(self.source, self.transform, index, draws.at(place))
            for index, place in zip(indices, places, strict=True)
        ]
        mask = np.array([place < size for place in places], np.float32)
        return Piece(_rows(self.source, found) | {"index": np.array(indices, np.int32), "mask": mask})


_Row = tuple[np.ndarray, tuple[int, ...]]  # image and labels


def _row(source: Source, transform: Transform, index: int, rng: np.random.Generator) -> _Row:
    example = source[index]
    return transform(opened(example.image, example.name), rng), example.labels


def _rows(source: Source, rows: Sequence[_Row]) -> Batch:
    return {
        "image": np.stack([image for image, _ in rows]),
        "label": padded([labels for _, labels in rows], source.most_labels),
    }


class _Draws:
    """Gives for each place a generator whose draws depend on (seed, place) alone, good until the next is asked for.

    One generator set to a new place in Philox's sequence each time: a tenth of the time that making one takes.
    """

    def __init__(self, seed: int):
        self._bits = np.random.Philox(seed)
        self._state = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def at(self, place: int) -> np.random.Generator:
        """Returns the generator of this place."""
        self._state["state"]["counter"][:] = (0, 0, 0, place)
        self._bits.state = self._state
        return self._generator


def _check(source: Source, batch_size: int, threads: int, processes: int) -> None:
    if batch_size < 1 or min(threads, processes) < 0:
        raise UserError(
            f"batch_size {batch_size}, {threads} threads and {processes} processes; give at least 1, 0 and 0"
        )
    if not len(source):
        raise UserError("the data source is empty; there is nothing to make batches of")
