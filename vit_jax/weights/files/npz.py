"""Files of NumPy arrays, `.npz`: no pickles, no more memory than they may take, errors in a line.

The format: an archive of `.npy` files, each a magic word, a version, the length of a header, the header, the array
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). The archive has a checksum of each.
"""

import io
import json
import logging
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import ml_dtypes
import numpy as np
from etils import epath

from vit_jax.errors import UserError
from vit_jax.weights.files import strict_json
from vit_jax.weights.rename import Arrays, shortened

log = logging.getLogger(__name__)

MARK = b"vit_jax:"  # what the comment begins with that holds our notes, a compressed JSON object
MOST_BYTES = 32 * 2**30  # twice the largest Vision Transformer published, ViT-e of 3.8 billion float32
MOST_TIMES = 100  # that a file grows in unpacking: trained weights hardly do, a bomb a thousand times
ALWAYS_ALLOWED = 2**26  # bytes, unpacked, however small the file
PIECE = 2**22  # bytes read at once

LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}  # of the header's length, by version
MOST_HEADER = 10_000  # bytes; NumPy's own bound
HEADER = re.compile(rb"\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), \} *\n")
DTYPES = re.compile(r"[<|][fiub][1248]")


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
        with epath.Path(place).expanduser().open("rb") as file, _Pieces(cast(io.RawIOBase, file)) as pieces:
            allowed = min(most_bytes, max(MOST_TIMES * pieces.seek(0, io.SEEK_END), ALWAYS_ALLOWED))
            with zipfile.ZipFile(pieces) as archive:
                _refuse_other_counts(archive, pieces)
                return _read(archive, place, allowed), _notes(archive.comment)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read weights from {place}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise UserError(f"{place} is no whole .npz file ({str(error)[:200]}); download it again") from None


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
        largest = max(kept, key=lambda key: len(json.dumps(kept[key])))
        log.warning("an .npz has no room for its %s, which is left out; .safetensors has", largest)
        del kept[largest]
    return comment if kept else b""


def _refuse_other_counts(archive: zipfile.ZipFile, file: io.BufferedReader) -> None:
    """Raises ValueError if the archive's last record counts other members or a longer comment, which zipfile passes."""
    last = struct.Struct("<4s6xH8xH")  # mark, members, length of the comment (APPNOTE.TXT of PKWARE, 4.3.16)
    file.seek(-last.size - len(archive.comment), io.SEEK_END)
    counts = (b"PK\5\6", min(len(archive.infolist()), 0xFFFF), len(archive.comment))
    if last.unpack(file.read(last.size)) != counts:
        raise ValueError("its table of contents is damaged")


def _notes(comment: bytes) -> Mapping[str, Any]:
    if not comment.startswith(MARK):
        return {}
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(comment.removeprefix(MARK), strict_json.MOST_BYTES + 1)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("its notes are cut short, or too long")
    return strict_json.parse(text)


class _Pieces(io.BufferedReader):
    """A file of which no more than a piece is read at once, such as an archive's table of contents, kept in memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > PIECE:
            raise ValueError(f"a part of {size:,} bytes, where no more than {PIECE:,} are allowed")
        return super().read(size)


def _read(archive: zipfile.ZipFile, place: str, allowed: int) -> dict[str, np.ndarray]:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > allowed:
        raise UserError(f"{place} unpacks to {total:,} bytes, more than the {allowed:,} allowed; is it the right file?")
    foreign = [member.filename for member in members if not member.filename.endswith(".npy")]
    if foreign or not members:
        raise UserError(f"{place} holds {shortened(foreign) or 'nothing'}, wanted an .npz of arrays only")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise ValueError("packed otherwise than NumPy packs")
    arrays = {member.filename.removesuffix(".npy"): _array(archive, member, place) for member in members}
    if len(arrays) < len(members):
        raise UserError(f"{place} holds two arrays of the same name; download it again")
    return arrays


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: str) -> np.ndarray:
    """Returns one array; `numpy.load` would allocate what its header claims before it looks at what is there."""
    with archive.open(member) as file:
        descr, order, shape = _header(file.read)
        if "O" in descr:
            raise UserError(f"{place}: {member.filename} holds Python objects, which could run code; it is not read")
        dtype = _dtype(descr)
        there = member.file_size - file.tell()
        if math.prod(shape) * dtype.itemsize != there:
            raise ValueError(f"{member.filename} claims shape {shape} of {dtype} and holds {there} bytes")
        data = bytearray()
        while piece := file.read(PIECE):
            data += piece
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _header(read: Callable[[int], bytes]) -> tuple[str, Literal["C", "F"], tuple[int, ...]]:
    """Returns the dtype, the order and the shape that an array's header tells, as NumPy writes one: nothing is run."""
    if read(6) != np.lib.format.MAGIC_PREFIX:
        raise ValueError("an array without its magic word")
    length = int.from_bytes(read(LENGTH_BYTES.get(read(2), 0)), "little")
    found = HEADER.fullmatch(read(min(length, MOST_HEADER)))
    if not found:
        raise ValueError("an array with an odd header")
    descr, fortran_order, shape = (group.decode() for group in found.groups())
    return descr, "F" if fortran_order == "True" else "C", tuple(int(n) for n in shape.replace(",", " ").split())


def _dtype(descr: str) -> np.dtype:
    if descr in ("<V2", "|V2"):
        return np.dtype(ml_dtypes.bfloat16)  # which NumPy has no name for
    if not DTYPES.fullmatch(descr):
        raise ValueError(f"an array of {descr}, wanted numbers")
    return np.dtype(descr)
