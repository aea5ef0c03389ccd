"""Safetensors files: read without a copy, bfloat16 too (which the library's own NumPy reader does not know).

The format: eight bytes that count those of a JSON header, the header, then the arrays one after another
(https://github.com/huggingface/safetensors, "Format"). It has no checksum: a flipped bit inside an array is noticed
by `files.digest` only.
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
from vit_jax.weights.files import strict_json
from vit_jax.weights.rename import Arrays

NOTES = "vit_jax"  # the key of the metadata under which our notes stand, as JSON
DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read(path: str | os.PathLike[str]) -> tuple[Arrays, Mapping[str, Any]]:
    """Returns the arrays of a file, mapped into memory, and our notes in its metadata, if it has any.

    The file must stay as it is for as long as they are in use: the system kills who reads past its end.

    Raises:
      UserError: no such file, or one whose header claims what is not there.
    """
    place = epath.Path(path)
    try:
        with place.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, strict_json.MOST_BYTES):
                raise ValueError(f"its header claims {length:,} bytes, the file has {size:,}")
            header = strict_json.parse(file.read(length))
            whole = np.asarray(np.memmap(file, np.uint8, "r"))
        metadata = header.pop("__metadata__", {})
        _refuse_gaps(header, size - 8 - length)
        arrays = {name: _array(whole[8 + length :], name, entry) for name, entry in header.items()}
        return arrays, strict_json.parse(metadata[NOTES].encode()) if NOTES in metadata else {}
    except OSError as error:
        raise UserError(f"cannot read weights from {place}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error)[:200] if isinstance(error, ValueError) else "its header is of another form"
        raise UserError(f"{place} is no whole .safetensors file ({reason}); download it again") from None


def _refuse_gaps(header: Mapping[str, Any], size: int) -> None:
    """Raises ValueError if arrays overlap or leave bytes between them, as the format forbids."""
    reached = 0
    for start, end in sorted(_whole_numbers(entry["data_offsets"]) for entry in header.values()):
        if not start == reached <= end:
            raise ValueError(f"an array lies from byte {start:,} to {end:,}, the one before ended at {reached:,}")
        reached = end
    if reached != size:
        raise ValueError(f"its arrays take {reached:,} bytes, {size:,} are there")


def _array(data: np.ndarray, name: str, entry: Mapping[str, Any]) -> np.ndarray:
    shape, (start, end) = _whole_numbers(entry["shape"]), entry["data_offsets"]
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"{name} is of dtype {entry['dtype']}, none of {', '.join(DTYPES)}")
    dtype = DTYPES[entry["dtype"]]
    if math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError(f"{name} claims shape {list(shape)} of {entry['dtype']} and holds {end - start:,} bytes")
    return data[start:end].view(dtype).reshape(shape)


def _whole_numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):  # no bools
        raise ValueError(f"{values} stands for whole numbers")
    return tuple(values)


def write(path: str | os.PathLike[str], arrays: Arrays, notes: Mapping[str, Any]) -> None:
    """Writes `arrays`, the widest dtype first as the library does, so that each is aligned; `notes` in the metadata.

    Raises:
      UserError: an array of a dtype that the format does not know.
    """
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    metadata = {"format": "pt"} | ({NOTES: json.dumps(notes)} if notes else {})
    header: dict[str, Any] = {"__metadata__": metadata}
    reached = 0
    for name in order:
        array = arrays[name]
        if array.dtype not in NAMES:
            raise UserError(f"{name} is of dtype {array.dtype}; a .safetensors file holds {', '.join(map(str, NAMES))}")
        entry = {"dtype": NAMES[array.dtype], "shape": list(array.shape)}
        header[name] = entry | {"data_offsets": [reached, reached + array.nbytes]}
        reached += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with epath.Path(path).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(arrays[name].tobytes())
