"""Checkpoints that torch pickled (`.pth`, `.pt`, `.bin`): only torch reads them, and of them only the weights.

torch maps the tensors into memory without a look at the archive's checksums: a flipped bit in one goes unnoticed.
"""

import argparse
import importlib
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from vit_jax.errors import UserError
from vit_jax.weights.rename import Arrays

# Under which key of a training checkpoint its model's tensors stand. Averages come before what they average (timm,
# DeiT), MAE's and DeiT's "model" before the teacher, which is what DINO publishes.
NESTS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher", "model_state")
# weights_only could be made to run code before: CVE-2025-32434 (fixed in 2.6), CVE-2026-24747 (fixed in 2.10).
SAFE_SINCE = (2, 10)
MOST_TIMES = 2  # that the tensors may take of what the file takes: some share their memory


def read(path: str | os.PathLike[str]) -> tuple[Arrays, Mapping[str, Any]]:
    """Returns the tensors of a file as arrays, and no notes, which these files do not have.

    The arrays are mapped into memory where torch can do so, and those of tied tensors share it. What stands beside
    the tensors (an optimizer, the number of the epoch) is passed over.

    Raises:
      UserError: torch is not installed, or too old to be safe; no such file, or one that holds more than tensors.
    """
    place = os.fspath(path)
    torch = _torch(place)
    try:
        size = os.path.getsize(place)
        archive = _is_archive(place)
        # Beside the weights of MAE and DINO lie the options that they were trained with, as such a Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
            found = torch.load(place, map_location="cpu", weights_only=True, mmap=archive)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read weights from {place}: {error.strerror or error}") from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{place} holds more than tensors, which could run code, and is not read; "
            "take the .safetensors file of the same weights, or save their state_dict alone"
        ) from None
    except Exception as error:  # torch raises whatever a damaged file made it trip on
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise UserError(f"{place} is no whole file of torch's ({reason}); download it again") from None
    tensors = _tensors(found, torch)
    if not tensors:
        raise UserError(f"{place} holds no names with tensors, at its top or under {', '.join(NESTS)}")
    taken = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if taken > MOST_TIMES * size:
        raise UserError(f"{place} has {size:,} bytes and claims tensors of {taken:,}; it is not read")
    return {name: _array(tensor, torch, f"{place}: {name}") for name, tensor in tensors.items()}, {}


def _torch(place: str) -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise UserError(
            f"{place} is a pickle, which only torch reads safely, and torch is not installed here; install it, "
            "or take the .safetensors file of the same weights"
        ) from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_SINCE:
        wanted = ".".join(map(str, SAFE_SINCE))
        raise UserError(f"{place} is a pickle, which torch reads safely since {wanted}; {torch.__version__} is here")
    return torch


def _is_archive(place: str) -> bool:
    """Returns whether `place` is an archive, as torch writes since 1.6 and can map; it must be one of plain tensors."""
    with open(place, "rb") as file:
        if file.read(4) != b"PK\3\4":  # how torch tells
            return False
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise UserError(f"{place} is a TorchScript program, not weights; save its state_dict with torch and read that")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):  # torch would map the packed bytes
        raise UserError(f"{place} is packed, as torch does not write; save it again with torch.save")
    return True


def _tensors(found: Any, torch: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        return {}
    for nest in (*(found.get(key) for key in NESTS), found):
        named = nest.items() if isinstance(nest, dict) else ()
        tensors = {name: value for name, value in named if isinstance(value, torch.Tensor) and isinstance(name, str)}
        if tensors:
            return tensors
    return {}


def _array(tensor: Any, torch: Any, place: str) -> np.ndarray:
    tensor = tensor.detach()
    try:
        if tensor.dtype == torch.bfloat16:
            return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return tensor.numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantised, of a dtype that NumPy does not have
        raise UserError(f"{place} is no plain array of numbers: {str(error)[:200]}") from None
