"""ArrayRecord files, opened and asked: each once in a process, and within the deadline where they are in a bucket."""

import collections
import importlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from vit_jax.data import bucket, storage
from vit_jax.errors import UserError

T = TypeVar("T")
OPEN = 1024  # shards a process keeps open; each holds its index, 40 bytes a record
# Reading ahead serves readers in order alone. "index_storage_option:offloaded" would save three quarters of the index,
# and reads it anew for every record: 36 ms in place of 8 from a shard of a million records.
OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


class Readers(collections.OrderedDict[str, Any]):
    """The shards that are open in this process, those opened last; none of them goes along to another process."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def __missing__(self, path: str) -> Any:
        reader = opened(path)
        with self.lock:
            self[path] = reader
            if len(self) > OPEN:
                self.popitem(last=False)  # closed when nobody reads from it any more
        return reader

    def __reduce__(self) -> Any:
        return Readers, ()


def opened(path: str) -> Any:
    """Returns array_record's reader of a shard; raises RuntimeError where it is cut short or no ArrayRecord."""
    module: Any = importlib.import_module("array_record.python.array_record_module")
    reader = module.ArrayRecordReader(path, options=OPTIONS, file_reader_buffer_size=32768)
    if not reader.ok():  # and it would say that there are no records
        reader.read([0])
        raise RuntimeError("it is cut short, or no ArrayRecord")
    return reader


def within_deadline(ask: Callable[[], T], path: str, what: str = "") -> T:
    """Returns `ask()`, what a shard says; array_record itself asks a bucket again without end.

    Raises UserError where no answer comes in time, or where array_record finds the shard damaged.
    """
    try:
        if not storage.is_remote(path):
            return ask()
        answer: Future[T] = Future()
        threading.Thread(target=_settle, args=(answer, ask), daemon=True).start()
        return answer.result(bucket.deadline())
    except TimeoutError:
        raise bucket.no_answer(path) from None
    except (RuntimeError, ValueError, IndexError) as error:
        raise UserError(f'cannot read {what}"{path}": {str(error).splitlines()[0]}') from None


def _settle(answer: "Future[T]", ask: Callable[[], T]) -> None:
    try:
        answer.set_result(ask())
    except BaseException as error:
        answer.set_exception(error)


def counts_of(paths: Sequence[str]) -> list[int]:
    """Returns the number of records in each shard."""
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(lambda path: within_deadline(lambda: opened(path).num_records(), path), paths))
