"""An average of the parameters over the run, which does better than any of its steps (paper, section 4.1: Polyak)."""

import dataclasses

import jax
import jax.numpy as jnp

from vit_jax.errors import UserError
from vit_jax.shapes import PyTree


@dataclasses.dataclass(frozen=True)
class Average:
    """An exponential moving average of the parameters.

    After step t, counted from 1, the average keeps min(`decay`, t / (t + 9)) of what it was and takes the rest from
    the parameters. So it forgets what a run starts from, a head of zeros say, however short the run is.

    Attributes:
      decay: what it keeps of itself at a step; 0.9999 in the paper's ImageNet results (section 4.1). 0: no average.
    """

    decay: float = 0.0

    def __post_init__(self):
        if not 0 <= self.decay < 1:
            raise UserError(f"average.decay is a share, at least 0 (no average) and below 1; got {self.decay}")

    def start(self, parameters: PyTree) -> PyTree:
        """Returns the average before the first step, or None where there is none."""
        return jax.tree.map(jnp.copy, parameters) if self.decay else None

    def update(self, average: PyTree, parameters: PyTree, step: jax.Array) -> PyTree:
        """Returns the average with the parameters after step `step` + 1 in it, or None where there is none."""
        if average is None:
            return None
        taken = jnp.maximum(1.0 - self.decay, 9.0 / (10.0 + step))
        # This way round, what is frozen stays as it is bit for bit.
        return jax.tree.map(lambda before, now: before + taken * (now - before), average, parameters)
