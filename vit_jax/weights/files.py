"""Reads a file of weights from someone else: no pickles, no more memory than it may take, errors in a line."""

import math
import os
import zipfile
import zlib

import numpy as np
from etils import epath

from vit_jax.errors import UserError
from vit_jax.weights.rename import shortened

MOST_BYTES = 32 * 2**30  # twice the largest Vision Transformer published, ViT-e of 3.8 billion float32

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> dict[str, np.ndarray]:
    """Returns the arrays of an `.npz` file by name.

    Args:
      path: a local file or gs://bucket/name.npz.
      most_bytes: refuse a file that takes more than this when unpacked, before anything is unpacked.

    Raises:
      UserError: no such file, not an `.npz`, truncated, damaged, too large, or with Python objects in it.
    """
    place = os.fspath(path)
    if "://" in place and not place.startswith("gs://"):
        raise UserError(f"weights are read from a local file or gs://bucket/name.npz; got {place}: download it first")
    try:
        with epath.Path(place).expanduser().open("rb") as file, zipfile.ZipFile(file) as archive:
            return _read(archive, place, most_bytes)
    except UserError:
        raise
    except ImportError:  # how etils says that fsspec's driver is absent
        raise UserError(f"{place} lies on Google Cloud Storage; to read it, install gcsfs, the extra [gcs]") from None
    except OSError as error:
        raise UserError(f"cannot read weights from {place}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise UserError(f"{place} is no whole .npz file ({error}); download it again") from None


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
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
