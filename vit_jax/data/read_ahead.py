"""Batches made ahead of the one who asks for them."""

import collections
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import Future

import numpy as np

from vit_jax.data.unreadable import Unreadable
from vit_jax.data.workers import Batch, Piece, Read, Workers

AHEAD = 3  # batches: one to hand out, one in the making, one for workers that would be idle


class ReadAhead:
    """Has `workers` read batches, each given as its pieces, ahead of the one who asks; None: `read` when asked.

    What goes wrong in a worker is raised by `next`, at the batch that it belongs to; `note` is told there what could
    not be read.
    """

    def __init__(
        self,
        read: Read,
        batches: Iterable[list[range]],
        workers: Workers | None,
        note: Callable[[Iterable[Unreadable]], None],
    ):
        self._read = read
        self._batches = iter(batches)
        self._workers = workers
        self._note = note
        self._coming: collections.deque[list[Future[Piece]]] = collections.deque()

    def __iter__(self) -> "ReadAhead":
        return self

    def __next__(self) -> Batch:
        if self._workers is None:
            return self._joined([self._read(places) for places in next(self._batches)])
        while self._pieces_beyond() < self._workers.count or len(self._coming) < AHEAD:
            pieces = next(self._batches, None)
            if pieces is None:
                break
            self._coming.append([self._workers.start(places) for places in pieces])
        if not self._coming:
            self.close()
            raise StopIteration
        return self._joined([piece.result() for piece in self._coming.popleft()])

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers, once each has finished its piece; nothing can be read afterwards."""
        self._batches = iter(())
        self._coming.clear()
        if self._workers is not None:
            self._workers.close()

    def _pieces_beyond(self) -> int:
        """Returns how many pieces are asked for beyond the batch to hand out and the one in the making."""
        return sum(map(len, itertools.islice(self._coming, AHEAD - 1, None)))

    def _joined(self, pieces: list[Piece]) -> Batch:
        for piece in pieces:
            self._note(piece.unreadable)
        return join(pieces)


def most_in_flight(pieces: int, workers: int) -> int:
    """Returns how many pieces are ever asked for and not yet handed out, with so many of them in a batch."""
    return AHEAD * pieces + workers


def join(pieces: list[Piece]) -> Batch:
    """Returns the rows of all pieces as one batch, copied."""
    return {name: np.concatenate([piece.rows[name] for piece in pieces]) for name in pieces[0].rows}
