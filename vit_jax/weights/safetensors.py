"""Safetensors files: read without a copy, bfloat16 too (which the library's own NumPy reader does not know).

The format: eight bytes that count those of a JSON header, the header, then the arrays one after another
(https://github.com/huggingface/safetensors, "Format").
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from vit_jax.errors import UserError
from vit_jax.weights.rename import Arrays

MOST_HEADER = 100 * 2**20  # bytes; the library's own bound
NOTES = "vit_jax"  # the key of the metadata under which our notes stand
DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read(path: str | os.PathLike[str]) -> tuple[Arrays, Mapping[str, Any]]:
    """Returns the arrays of a file, mapped into memory, and our notes in its metadata, if it has any.

    Raises:
      UserError: no such file, or one whose header claims what is not there.
    """
    place = epath.Path(path)
    try:
        size = place.stat().length
        with place.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(size - 8, MOST_HEADER):
                raise ValueError(f"its header claims {length:,} bytes, the file has {size:,}")
            header = json.loads(file.read(length))
        data = np.memmap(os.fspath(place), np.uint8, "r", 8 + length) if size > 8 + length else np.zeros(0, np.uint8)
        metadata = header.pop("__metadata__", {})
        arrays = {name: _array(data, name, entry) for name, entry in header.items()}
        _refuse_gaps(header, len(data))
        return arrays, json.loads(metadata.get(NOTES, "{}"))
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read weights from {place}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{place} is no whole .safetensors file ({error}); download it again") from None


def _array(data: np.ndarray, name: str, entry: Mapping[str, Any]) -> np.ndarray:
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    if entry["dtype"] not in DTYPES:
        raise UserError(f"{name} is of dtype {entry['dtype']}; weights are read as one of {', '.join(DTYPES)}")
    dtype = DTYPES[entry["dtype"]]
    if min(shape, default=0) < 0 or not 0 <= start <= end <= len(data):
        raise ValueError(f"{name} lies from byte {start:,} to {end:,} of {len(data):,}")
    if math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError(f"{name} claims shape {shape} of {entry['dtype']} and holds {end - start:,} bytes")
    return data[start:end].view(dtype).reshape(shape)


def _refuse_gaps(header: Mapping[str, Any], size: int) -> None:
    """Raises ValueError if arrays overlap or leave bytes between them, as the format forbids."""
    reached = 0
    for start, end in sorted(tuple(entry["data_offsets"]) for entry in header.values()):
        if start != reached:
            raise ValueError(f"an array starts at byte {start:,}, where the one before ended at {reached:,}")
        reached = end
    if reached != size:
        raise ValueError(f"its arrays end at byte {reached:,}, the file at {size:,}")


def write(path: str | os.PathLike[str], arrays: Arrays, notes: Mapping[str, Any]) -> None:
    """Writes `arrays`, the widest dtype first as the library does, so that each is aligned; `notes` in the metadata."""
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    metadata = {"format": "pt"} | ({NOTES: json.dumps(notes)} if notes else {})
    header: dict[str, Any] = {"__metadata__": metadata}
    reached = 0
    for name in order:
        array = arrays[name]
        entry = {"dtype": NAMES[array.dtype], "shape": list(array.shape)}
        header[name] = entry | {"data_offsets": [reached, reached + array.nbytes]}
        reached += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with epath.Path(path).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(np.ascontiguousarray(arrays[name]).tobytes())
