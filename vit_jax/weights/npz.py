"""Files of NumPy arrays, `.npz`: no pickles, no more memory than they may take, errors in a line."""

import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from vit_jax.errors import UserError
from vit_jax.weights.rename import Arrays, shortened

MARK = b"vit_jax:"  # what the comment begins with that holds our notes, a compressed JSON object
MOST_NOTES = 2**26  # bytes, unpacked
MOST_BYTES = 32 * 2**30  # twice the largest Vision Transformer published, ViT-e of 3.8 billion float32

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> tuple[Arrays, Mapping[str, Any]]:
    """Returns the arrays of an `.npz` file by name, and our notes in the archive's comment, if it has any.

    Args:
      path: a local file.
      most_bytes: refuse a file that takes more than this when unpacked, before anything is unpacked.

    Raises:
      UserError: no such file, not an `.npz`, truncated, damaged, too large, or with Python objects in it.
    """
    place = os.fspath(path)
    try:
        with epath.Path(place).expanduser().open("rb") as file, zipfile.ZipFile(file) as archive:
            return _read(archive, place, most_bytes), _notes(archive)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read weights from {place}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise UserError(f"{place} is no whole .npz file ({error}); download it again") from None


def write(path: str | os.PathLike[str], arrays: Arrays, notes: Mapping[str, Any]) -> None:
    """Writes `arrays` as numpy.savez does; `notes` become the comment of the archive, where no reader trips on them."""
    with epath.Path(path).open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            archive.comment = _comment(notes)


def _comment(notes: Mapping[str, Any]) -> bytes:
    """Returns the notes as what fits into a comment, from which the largest are left out until they do."""
    kept = dict(notes)
    while len(comment := MARK + zlib.compress(json.dumps(kept).encode(), 9)) > zipfile.ZIP_MAX_COMMENT:
        kept.pop(max(kept, key=lambda key: len(json.dumps(kept[key]))))
    return comment if kept else b""


def _notes(archive: zipfile.ZipFile) -> Mapping[str, Any]:
    if not archive.comment.startswith(MARK):
        return {}
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(archive.comment.removeprefix(MARK), MOST_NOTES)
    notes = json.loads(text)
    if unpacker.unconsumed_tail or not isinstance(notes, dict):
        raise ValueError("its notes are damaged")
    return notes


def _read(archive: zipfile.ZipFile, place: str, most_bytes: int) -> dict[str, np.ndarray]:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > most_bytes:
        raise UserError(
            f"{place} unpacks to {total:,} bytes, more than the {most_bytes:,} allowed; is it the right file?"
        )
    foreign = [member.filename for member in members if not member.filename.endswith(".npy")]
    if foreign or not members:
        raise UserError(f"{place} holds {shortened(foreign) or 'nothing'}, wanted an .npz of arrays only")
    arrays = {member.filename.removesuffix(".npy"): _array(archive, member, place) for member in members}
    if len(arrays) < len(members):
        raise UserError(f"{place} holds two arrays of the same name; download it again")
    return arrays


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: str) -> np.ndarray:
    """Returns one array; `numpy.load` would allocate what its header claims before it looks at what is there."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"{member.filename} has npy version {version}")
        shape, fortran_order, dtype = HEADERS[version](file)
        if dtype.hasobject:
            raise UserError(f"{place}: {member.filename} holds Python objects, which could run code; it is not read")
        data = file.read()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{member.filename} claims shape {shape} of {dtype} and holds {len(data)} bytes")
    if dtype == np.dtype("V2"):
        dtype = np.dtype(ml_dtypes.bfloat16)  # which NumPy has no name for
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
