"""Stand-in until the branch `remote` is merged: local files only."""

import os
from pathlib import Path

from vit_jax.errors import UserError


def read(path: str, start: int = 0, stop: int | None = None) -> bytes:
    """Returns the bytes from `start` to `stop`."""
    try:
        with open(path, "rb", buffering=0) as file:
            if start == 0 and stop is None:
                return file.readall()
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)
    except (OSError, ValueError) as error:
        raise UserError(f'cannot read "{path}": {getattr(error, "strerror", error)}') from None


def size(path: str) -> int:
    """Returns the size in bytes."""
    try:
        return os.path.getsize(path)
    except OSError as error:
        raise UserError(f'cannot read "{path}": {error.strerror}') from None


def is_file(path: str) -> bool:
    """Whether there is such a file."""
    return os.path.isfile(path)


def is_folder(path: str) -> bool:
    """Whether it is a folder."""
    return os.path.isdir(path)


def files_below(path: str) -> list[str]:
    """Returns the files below, relative, sorted."""
    return sorted(str(file.relative_to(path)) for file in Path(path).rglob("*") if file.is_file())
