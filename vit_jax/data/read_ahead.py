"""Batches made in threads, ahead of the one who asks for them."""

import collections
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import numpy as np

Batch: TypeAlias = dict[str, np.ndarray]
Read: TypeAlias = Callable[[range], Batch]  # the rows at these positions of an endless stream


class ReadAhead:
    """Reads batches, each given as its pieces, in `threads` threads ahead of the one who asks; 0: when asked.

    What goes wrong in a thread is raised by `next`, at the batch that it belongs to.
    """

    def __init__(self, read: Read, batches: Iterable[list[range]], threads: int):
        self._read = read
        self._batches = iter(batches)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "data") if threads else None
        self._coming: collections.deque[list[Future[Batch]]] = collections.deque()

    def __iter__(self) -> "ReadAhead":
        return self

    def __next__(self) -> Batch:
        if self._pool is None:
            return join([self._read(piece) for piece in next(self._batches)])
        # One batch to hand out, one in the making, and beyond them a piece for every thread.
        while sum(map(len, itertools.islice(self._coming, 2, None))) < self._threads or len(self._coming) < 3:
            pieces = next(self._batches, None)
            if pieces is None:
                break
            self._coming.append([self._pool.submit(self._read, piece) for piece in pieces])
        if not self._coming:
            self.close()
            raise StopIteration
        return join([piece.result() for piece in self._coming.popleft()])

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the threads, once each has finished its piece; nothing can be read afterwards."""
        self._batches = iter(())
        self._coming.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def join(pieces: list[Batch]) -> Batch:
    """Returns the rows of all pieces as one batch."""
    if len(pieces) == 1:
        return pieces[0]
    return {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
