"""Files to read, on a disk or in a bucket of Google Cloud Storage: a path is a str and may begin with gs://."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

from vit_jax.data import bucket
from vit_jax.errors import UserError

CHUNK = 2**23  # bytes that a file opened in a bucket reads at a time


def read(path: str, start: int = 0, stop: int | None = None) -> bytes:
    """Returns the bytes `start` to `stop` (None: the end) of a file.

    Raises UserError where there is no such file, it may not be read, ends before `stop`, or no answer comes in time.
    """
    if is_remote(path):
        return bucket.read(path, start, stop)
    with _local_errors(path), open(os.path.expanduser(path), "rb") as file:
        file.seek(start)
        data = file.read() if stop is None else file.read(stop - start)
    if stop is not None and len(data) < stop - start:
        raise bucket.too_short(path, start, stop, size(path))
    return data


def size(path: str) -> int:
    """Returns the bytes of a file; raises UserError as `read` does."""
    if not is_remote(path):
        with _local_errors(path), open(os.path.expanduser(path), "rb") as file:
            return os.fstat(file.fileno()).st_size
    return bucket.size(path)


def is_file(path: str) -> bool:
    """Tells whether there is a file at `path`."""
    return bucket.is_object(path) if is_remote(path) else os.path.isfile(os.path.expanduser(path))


def is_folder(path: str) -> bool:
    """Tells whether `path` is a folder; in a bucket, whether an object's name begins with it and a slash."""
    return bucket.is_prefix(path) if is_remote(path) else os.path.isdir(os.path.expanduser(path))


def folders_in(path: str) -> list[str]:
    """Returns the names of the folders in a folder, sorted; not the hidden ones. Raises UserError as `files_below`."""
    if is_remote(path):
        names = [name for name in bucket.names_below(path, "/") if name.endswith("/")]
    else:
        with _local_errors(path), os.scandir(os.path.expanduser(path)) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    return sorted(name.rstrip("/") for name in names if not name.startswith("."))


def files_below(path: str) -> list[str]:
    """Returns the files at any depth in a folder, relative to it, parted by "/", sorted; not the hidden ones.

    Raises UserError where there is no such folder, or a part of it may not be listed.
    """
    return sorted(walk(path))


def walk(path: str) -> Iterator[str]:
    """Yields what `files_below` returns, in no particular order, without holding it."""
    if not is_remote(path):
        root = os.path.expanduser(path)
        if not os.path.isdir(root):
            raise UserError(f'"{path}" {"is a file" if os.path.exists(root) else "does not exist"}; give a folder')
        yield from _local_files(root, "")
        return
    found = False
    for name in bucket.names_below(path):
        found = True
        if not any(part.startswith(".") for part in name.split("/")):
            yield name
    if not found:
        raise UserError(f'"{path}" {"is a file" if is_file(path) else "does not exist"}; give a folder')


def open_for_reading(path: str) -> io.BufferedReader:
    """Opens a file for reading and seeking; raises UserError as `read` does."""
    if is_remote(path):
        return io.BufferedReader(_Object(path), CHUNK)
    with _local_errors(path):
        return open(os.path.expanduser(path), "rb")


def is_remote(path: str) -> bool:
    """Tells whether `path` is in a bucket; raises UserError for an address of another kind.

    >>> is_remote("gs://bucket/images"), is_remote("/data/images")
    (True, False)
    """
    scheme, found, _ = path.partition("://")
    if found and scheme != "gs":
        raise UserError(f'"{path}" is an address of a kind that is not read; give a path, or gs://bucket/name')
    return bool(found)


def join(folder: str, name: str) -> str:
    """Returns the path of `name` in `folder`.

    >>> join("gs://bucket/images/", "cat/1.jpg")
    'gs://bucket/images/cat/1.jpg'
    """
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


class _Object(io.RawIOBase):
    """A file in a bucket, read by ranges."""

    def __init__(self, path: str):
        self.path = path
        self.size = size(path)
        self.place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence]
        return self.place

    def tell(self) -> int:
        return self.place

    def readinto(self, buffer: Any) -> int:
        stop = min(self.size, self.place + len(buffer))
        if stop <= self.place:
            return 0
        data = read(self.path, self.place, stop)
        buffer[: len(data)] = data
        self.place = stop
        return len(data)


def _local_files(root: str, below: str) -> Iterator[str]:
    folder = os.path.join(root, below)
    with _local_errors(folder), os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    for name, is_dir in found:
        if is_dir:
            yield from _local_files(root, f"{below}{name}/")
        else:
            yield below + name


@contextlib.contextmanager
def _local_errors(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f'"{path}" does not exist; check the path') from None
    except IsADirectoryError:
        raise UserError(f'"{path}" is a folder; give a file') from None
    except PermissionError:
        raise UserError(f'no permission to read "{path}"; ask its owner for it') from None
    except OSError as error:
        raise UserError(f'cannot read "{path}": {error.strerror or error}') from None
