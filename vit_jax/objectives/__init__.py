"""What a run learns: values handed to the one training loop."""

from typing import Any, Protocol, runtime_checkable

import jax

from vit_jax.shapes import Parameters


@runtime_checkable
class Objective(Protocol):
    """Turns a batch into a loss."""

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Returns the whole batch as the model is to see it: floats, normalised, augmented."""
        ...

    def loss(
        self, parameters: Parameters, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Returns the mean loss of a prepared batch, or of a part of it, and metrics to log; `loss` is one of them."""
        ...
