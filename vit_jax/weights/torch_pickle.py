"""Checkpoints that torch pickled (`.pth`, `.pt`, `.bin`): only torch reads them, and of them only the weights."""

import importlib
import os
import pickle
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from vit_jax.errors import UserError
from vit_jax.weights.rename import Arrays

# Under which key of a training checkpoint its model's tensors stand: MAE and DeiT, DINO's teacher, timm's averages.
NESTS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher", "model_state")


def read(path: str | os.PathLike[str]) -> tuple[Arrays, Mapping[str, Any]]:
    """Returns the tensors of a file as arrays, and no notes, which these files do not have.

    Raises:
      UserError: torch is not installed, no such file, or one that holds more than tensors.
    """
    place = os.fspath(path)
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise UserError(
            f"{place} is a pickle, which only torch reads safely, and torch is not installed here; install it, "
            "or take the .safetensors file of the same weights"
        ) from None
    try:
        found = torch.load(place, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise UserError(f"cannot read weights from {place}: {error.strerror or error}") from None
    except pickle.UnpicklingError:
        raise UserError(f"{place} holds more than tensors, which could run code; it is not read") from None
    except (RuntimeError, ValueError, EOFError, KeyError) as error:
        raise UserError(
            f"{place} is no whole file of torch's ({str(error).splitlines()[0]}); download it again"
        ) from None
    nest = next((key for key in NESTS if isinstance(found, dict) and isinstance(found.get(key), dict)), None)
    tensors = found if nest is None else found[nest]
    if not isinstance(tensors, dict):
        raise UserError(f"{place} holds a {type(tensors).__name__}, wanted names with tensors")
    return {name: _array(tensor, torch) for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}, {}


def _array(tensor: Any, torch: Any) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()
