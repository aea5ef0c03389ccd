"""Who makes the pieces of batches: threads of this process, or processes that share memory with it."""

import ctypes
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from vit_jax.data.unreadable import Unreadable
from vit_jax.errors import UserError

Batch: TypeAlias = dict[str, np.ndarray]

LOST = "a process that reads images was killed (out of memory?); give fewer config.processes"


class Piece(NamedTuple):
    """Some rows of a batch, and what could not be read on the way."""

    rows: Batch
    unreadable: tuple[Unreadable, ...] = ()


Read: TypeAlias = Callable[[range], Piece]  # the rows at these places of an endless stream


class Threads:
    """Threads of this process. Decoding lets others run; the rest of the work is Python's and takes turns."""

    def __init__(self, read: Read, count: int):
        self.count = count
        self._read = read
        self._pool = ThreadPoolExecutor(count, "data")

    def start(self, places: range) -> "Future[Piece]":
        """Has a thread make this piece."""
        return self._pool.submit(self._read, places)

    def close(self) -> None:
        """Ends the threads, once each has finished its piece."""
        self._pool.shutdown(cancel_futures=True)


class Processes:
    """Processes of their own, which write what they make into memory that is shared with this one.

    A piece stays whole until `slots` more were started: by then the caller has copied it. The memory has no name, so
    nothing of it is left behind however a process ends; it is `slots` pieces large at most.
    """

    def __init__(self, read: Read, count: int, slots: int, piece: int):
        self.count = count
        first = read(range(1)).rows
        layout = {name: ((piece, *array.shape[1:]), array.dtype) for name, array in first.items()}
        size = sum(_size(*part) for part in layout.values())
        context = multiprocessing.get_context("spawn")  # a fork would carry JAX's threads along, and their locks
        memory = context.RawArray(ctypes.c_ubyte, size * slots)
        self._pieces = [_views(memory, size * slot, layout) for slot in range(slots)]
        self._next_slot = itertools.cycle(range(slots))
        self._pool = ProcessPoolExecutor(count, context, _begin, (read, memory, size, layout))

    def start(self, places: range) -> "Future[Piece]":
        """Has a process make this piece; its arrays are good until `slots` more are asked for."""
        slot = next(self._next_slot)
        piece = Future[Piece]()

        def hand_over(made: "Future[tuple[Unreadable, ...]]") -> None:
            if made.cancelled():
                piece.cancel()
            elif isinstance(error := made.exception(), BrokenProcessPool):
                piece.set_exception(UserError(LOST))
            elif error:
                piece.set_exception(error)
            else:
                rows = {name: array[: len(places)] for name, array in self._pieces[slot].items()}
                piece.set_result(Piece(rows, made.result()))

        try:
            self._pool.submit(_make, slot, places).add_done_callback(hand_over)
        except BrokenProcessPool:
            piece.set_exception(UserError(LOST))
        return piece

    def close(self) -> None:
        """Ends the processes, once each has finished its piece."""
        self._pool.shutdown(cancel_futures=True)


Workers: TypeAlias = Threads | Processes
Layout: TypeAlias = dict[str, tuple[tuple[int, ...], np.dtype]]  # of a piece: shape and dtype of each array


def _size(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Returns how many bytes an array takes, to the next 64."""
    return -(-int(np.prod(shape)) * dtype.itemsize // 64) * 64


def _views(memory: Any, offset: int, layout: Layout) -> Batch:
    """Returns the arrays of a piece that lies in `memory` from `offset` on."""
    views = {}
    for name, (shape, dtype) in layout.items():
        views[name] = np.frombuffer(memory, dtype, int(np.prod(shape)), offset).reshape(shape)
        offset += _size(shape, dtype)
    return views


# In a worker process.
_making: Callable[[int, range], tuple[Unreadable, ...]]


def _begin(read: Read, memory: Any, size: int, layout: Layout) -> None:
    """Prepares a worker process."""
    global _making
    serve_parent()

    def make(slot: int, places: range) -> tuple[Unreadable, ...]:
        piece = read(places)
        for name, view in _views(memory, size * slot, layout).items():
            view[: len(places)] = piece.rows[name]
        return piece.unreadable

    _making = make


def _make(slot: int, places: range) -> tuple[Unreadable, ...]:
    return _making(slot, places)


def serve_parent() -> None:
    """Has this process, a worker, leave Ctrl-C to the one that started it, and end when that one does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when the one that started it has ended, however that was."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
