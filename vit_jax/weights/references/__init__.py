"""What the libraries that families of checkpoints come from compute with them: to compare with, never to compute by."""

import importlib
from types import ModuleType

import numpy as np

from vit_jax.errors import UserError, pick

# For each format, who reads its files beside us. A module has activations(place, images) and version().
LIBRARIES = {
    "google": "vit_jax.weights.references.timm_npz",
    "big_vision": "vit_jax.weights.references.timm_npz",
    "timm": "vit_jax.weights.references.timm",
    "huggingface": "vit_jax.weights.references.transformers",
}


def library(format: str) -> ModuleType:
    """Returns the module that runs files of this format.

    Raises:
      UserError: no library does, or it is not installed here.
    """
    name = pick(LIBRARIES, format, "format with a library of its own")
    try:
        module = importlib.import_module(name)
        module.version()  # which imports the library
        return module
    except ImportError as error:
        raise UserError(
            f"{format} files are verified by their own library, and {error.name} is not installed"
        ) from None


def activations(place: str, format: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what the family's own library computes, in float64, from the checkpoint at `place`.

    Args:
      place: a file or folder that the library itself reads.
      format: a name in LIBRARIES.
      images: (batch, height, width, 3), normalised; at another size than the model's, the library resizes positions.

    Returns:
      "block00", "block01", … (batch, tokens, width), and "logits": of a model without head, its features.
    """
    return library(format).activations(place, images)
