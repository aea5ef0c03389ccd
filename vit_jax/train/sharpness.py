"""Minima that are flat: SAM (arXiv 2010.01412) and GSAM (arXiv 2203.08065).

The gradient is taken where the loss is higher, a little way up from the parameters, on the same batch and with the
same randomness: a step costs about two. Here all devices, and all parts of an accumulated batch, go up together.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from vit_jax.errors import UserError
from vit_jax.shapes import Parameters


@dataclasses.dataclass(frozen=True)
class Sharpness:
    """How a step avoids sharp minima.

    Attributes:
      radius: how far up it goes, in the norm of all parameters together, by step.
      alpha: weight of the descent of the surrogate gap, the loss up there less the loss here; 0 is SAM.
    """

    radius: Callable[[jax.Array], jax.Array]
    alpha: float

    def gradients(
        self,
        gradients_at: Callable[[Parameters], Parameters],
        parameters: Parameters,
        gradients: Parameters,
        step: jax.Array,
    ) -> Parameters:
        """Returns the gradients to go by, from those at `parameters` and the function that gives them elsewhere."""
        above = gradients_at(ascend(parameters, gradients, self.radius(step)))
        return close_gap(above, gradients, self.alpha) if self.alpha else above


def build(
    rate: optax.Schedule, peak_learning_rate: float, steps: int, rho_max: float, rho_min: float, alpha: float
) -> Sharpness | None:
    """Returns what a config's `sharpness` says, None for plain gradients.

    The published GSAM runs of ViTs on ImageNet have `rho_max` 0.6, `rho_min` 0.1, `alpha` 0.6; SAM has both radii
    alike and `alpha` 0.

    Args:
      rate: the learning rate by step.
      peak_learning_rate: its highest value.
      steps: of the whole run; the learning rate after them is taken for its lowest.
      rho_max: the radius at the highest learning rate, and throughout if it is constant; 0 for plain gradients.
      rho_min: the radius at the lowest, and below; in between it goes with the learning rate.
      alpha: see `Sharpness`.

    Raises:
      UserError: one of them is negative, the radii are the wrong way round, or there is an `alpha` without a radius.
    """
    if not 0 <= rho_min <= rho_max or alpha < 0 or (alpha and not rho_max):
        raise UserError(
            "sharpness wants 0 <= rho_min <= rho_max, alpha at least 0, and rho_max above 0 where alpha is; "
            f"got rho_max {rho_max}, rho_min {rho_min}, alpha {alpha}"
        )

    def radius(step: jax.Array) -> jax.Array:
        here, lowest = jnp.float32(rate(step)), jnp.float32(rate(steps))
        falls = peak_learning_rate - lowest
        share = jnp.where(falls > 0, (here - lowest) / jnp.where(falls > 0, falls, 1.0), 1.0)
        return rho_min + (rho_max - rho_min) * jnp.clip(share, 0.0, 1.0)

    return Sharpness(radius, alpha) if rho_max else None


def ascend(parameters: Parameters, gradients: Parameters, radius: jax.Array | float) -> Parameters:
    """Returns the parameters `radius` further along the gradients, whatever these' length (SAM, equation 2)."""
    scale = radius / (optax.tree.norm(gradients) + 1e-12)  # as published; gradients of 0 lead nowhere
    return jax.tree.map(lambda leaf, gradient: leaf + scale * gradient, parameters, gradients)


def close_gap(above: Parameters, gradients: Parameters, alpha: float) -> Parameters:
    """Returns gradients `above` less `alpha` x the part of `gradients` that is orthogonal to them (GSAM, algorithm 1).

    So the loss up there falls as fast as before, and the loss here rises towards it.
    """
    along = optax.tree.vdot(gradients, above) / (optax.tree.norm(above, squared=True) + 1e-24)
    return jax.tree.map(lambda up, here: up - alpha * (here - along * up), above, gradients)
