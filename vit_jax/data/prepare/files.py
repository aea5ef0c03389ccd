"""Files that are whole or not there: written under another name, made to last, then renamed."""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vit_jax.errors import UserError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what goes wrong while `path` is written, such as a full disk, into a UserError."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: array_record's
        reason = error.strerror if isinstance(error, OSError) else str(error).partition(";")[0]
        raise UserError(f'cannot write "{path}" ({reason}); mend it and start again: what is finished stays') from None


@contextlib.contextmanager
def placed(path: Path) -> Iterator[Path]:
    """Gives another name to write to, and renames that file to `path` once it is safe on the disk.

    Where the block raises, or makes no such file, nothing is left. Raises UserError where it cannot be made to last.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")  # Beam may have two machines write one file
    try:
        yield part
        if not part.exists():
            return
        with writing(path):
            with open(part, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(part, path)
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Makes what was renamed in `folder` last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all; raises UserError where it cannot be written."""
    with placed(path) as part, writing(path):
        part.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as `write` does."""
    write(path, json.dumps(value, indent=1, ensure_ascii=False).encode(errors="backslashreplace"))


def read_json(path: Path) -> Any:
    """Returns what a JSON file says; None where there is none, or it is none."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def described(path: Path) -> dict[str, Any]:
    """Returns what a manifest says of a file: its name, bytes and sha256."""
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}


def is_unchanged(folder: Path, known: dict[str, Any]) -> bool:
    """Tells whether the file that `known` describes lies in `folder` as it was."""
    path = folder / known["file"]
    if not path.is_file() or path.stat().st_size != known["bytes"]:
        return False
    return described(path)["sha256"] == known["sha256"]
