"""What a model makes of a fixed image, block by block: to know a checkpoint by, wherever and by whatever it is run."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from vit_jax.errors import UserError
from vit_jax.shapes import Images, Parameters

TOLERANCE = 1e-5  # of the largest value, or of 1
DAMAGED = "its notes were changed since they were written"
SAMPLES = 32  # of each block, evenly spread, are enough to tell one array from another


def probe(image_size: tuple[int, int]) -> np.ndarray:
    """Returns the image (1, height, width, 3), normalised, that a certificate is made with: the same on any machine."""
    # NumPy promises that this generator's stream never changes, which it does not of the newer ones (NEP 19).
    return np.random.RandomState(0).standard_normal((1, *image_size, 3)).astype(np.float32)


def activations(model: nn.Module, parameters: Parameters, images: Images | np.ndarray) -> dict[str, np.ndarray]:
    """Returns "block00", "block01", … (or a ResNet's units) in order, and "logits" (features, without a head).

    Computed in float32, matrix products too where a device would rather round them.
    """

    @jax.jit
    def run(parameters: Parameters, images: Images) -> Any:
        return model.apply({"params": parameters}, images, False, mutable=["intermediates"])

    with jax.default_matmul_precision("highest"):
        logits, kept = run(parameters, np.asarray(images))
    flat = flatten_dict(kept["intermediates"], sep="/")
    outputs = sorted((name for name in flat if name.endswith("/output")), key=lambda name: (name[:5] != "stem/", name))
    found = {name.removeprefix("encoder/").removesuffix("/output"): np.asarray(flat[name]) for name in outputs}
    return found | {"logits": np.asarray(logits)}


def samples(found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns, as plain JSON values, what `differences` compares activations with later: some values of each array."""
    return {
        name: {
            "shape": list(array.shape),
            "largest": _short(np.abs(array).max()),
            "values": [_short(value) for value in _spread(array)],
        }
        for name, array in found.items()
    }


def differences(found: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> dict[str, float]:
    """Returns the largest difference of each array from `wanted`, relative to the largest value there or 1.

    Args:
      found: by `activations`.
      wanted: arrays, or their `samples`; of names that `found` lacks nothing is said.

    Raises:
      UserError: arrays of another shape, no name in common, or what are no samples: they come from a stranger's file.
    """
    result = {}
    for name in (name for name in found if name in wanted):
        ours, theirs = found[name], wanted[name]
        shape, largest, values = _read(name, theirs)
        if ours.shape != shape:
            raise UserError(f"{name} has shape {ours.shape} here and {shape} there: this is another model")
        mine = ours if isinstance(theirs, np.ndarray) else _spread(ours)
        if mine.shape != values.shape:
            raise UserError(f"{len(values)} samples of {name}, wanted {len(mine)}; {DAMAGED}")
        result[name] = float(np.abs(mine - values).max() / max(1.0, largest))
    if not result:
        raise UserError(f"nothing to compare: {', '.join(found)} here, {', '.join(wanted)} there")
    return result


def first_departure(differences: Mapping[str, float], tolerance: float = TOLERANCE) -> str | None:
    """Returns the name of the first array that differs by more than `tolerance`, or is not a number; None if none is.

    >>> first_departure({"block00": 1e-7, "block01": 0.1, "logits": 0.2})
    'block01'
    """
    return next((name for name, difference in differences.items() if not difference <= tolerance), None)


def _read(name: str, wanted: Any) -> tuple[tuple[int, ...], float, np.ndarray]:
    """Returns the shape, the largest value and the values of an array, or of samples as JSON gave them."""
    if isinstance(wanted, np.ndarray):
        return wanted.shape, float(np.abs(wanted).max()), wanted
    try:
        shape, largest = tuple(wanted["shape"]), float(wanted["largest"])
        values = np.asarray(wanted["values"], np.float64)
    except (KeyError, TypeError, ValueError):
        raise UserError(f"what stands for samples of {name} is none; {DAMAGED}") from None
    if values.ndim != 1 or not np.isfinite([largest, *values]).all():
        raise UserError(f"the samples of {name} are not all numbers; {DAMAGED}")
    return shape, largest, values


def _spread(array: np.ndarray) -> np.ndarray:
    flat = np.ravel(array)
    return flat[np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).astype(int)]


def _short(value: Any) -> float:
    return float(f"{value:.9g}")  # which tells any two float32 apart
