"""What a reader of published weights hands over."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from vit_jax.shapes import Parameters
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.rename import Arrays, refuse


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Weights in our layout, and all that their file and their family say about them.

    Attributes:
      parameters: nested dict of float32 arrays on the host.
      recipe: what one must know to use them; its `model` builds the model that they belong to.
    """

    parameters: Parameters
    recipe: Recipe


def refuse_other_kinds(arrays: Arrays) -> None:
    """Raises UserError if some of the arrays are not floats."""
    odd = [f"{name} {array.dtype}" for name, array in arrays.items() if not is_float(array)]
    refuse("weights are arrays of floats", {"of another kind": odd}, "Choose a checkpoint saved as float32.")


def is_float(array: object) -> bool:
    """Returns whether an array holds floats, bfloat16 among them, which NumPy calls void."""
    dtype = getattr(array, "dtype", None)
    return getattr(dtype, "kind", "") == "f" or str(dtype) == "bfloat16"


def odd_dtypes(arrays: Arrays) -> dict[str, str]:
    """Returns the names of arrays that are not float32, and what they are: what writing them back must know."""
    return {name: str(array.dtype) for name, array in arrays.items() if str(array.dtype) != "float32"}


def as_published(arrays: Arrays, origin: Mapping[str, Any]) -> Arrays:
    """Returns `arrays` in the dtypes that `odd_dtypes` found when they were read, where those still hold their values.

    What was fine-tuned, or resized, stays in float32: bfloat16 would round it.
    """
    dtypes = origin.get("dtypes", {})
    return {name: _exactly(array, np.dtype(dtypes.get(name, "float32"))) for name, array in arrays.items()}


def _exactly(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    cast = array.astype(dtype, copy=False)
    return cast if np.array_equal(cast.astype(array.dtype), array, equal_nan=True) else array
