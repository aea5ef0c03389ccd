"""From the `optimizer` section of a config to an optax transformation: clip, scale, decay, learning rate."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vit_jax import parallel
from vit_jax.errors import UserError, construct, pick
from vit_jax.shapes import Parameters, PyTree
from vit_jax.train import pattern_rates, schedules


def adam(b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8, momentum_dtype: str = "float32"):
    """Adam (paper, section 4.1: b1 0.9, b2 0.999)."""
    return optax.scale_by_adam(b1, b2, epsilon, mu_dtype=momentum_dtype)


def sgd(momentum: float = 0.9, momentum_dtype: str = "float32"):
    """SGD with momentum (paper, section 4.1: fine-tuning)."""
    return optax.trace(momentum, accumulator_dtype=momentum_dtype)


def lion(b1: float = 0.9, b2: float = 0.99, momentum_dtype: str = "float32"):
    """Lion: steps by the sign of a momentum (arXiv 2302.06675, whose rates are 3 to 10 times below Adam's)."""
    return optax.scale_by_lion(b1, b2, mu_dtype=momentum_dtype)


def adafactor(
    momentum: float = 0.9,
    momentum_dtype: str = "bfloat16",
    b2_power: float = 0.8,
    b2_cap: float = 0.999,
    least_factored: int = 32,
    clip_rms: float = 0.0,
    epsilon: float = 1e-30,
):
    """Adafactor (arXiv 1804.04235) as large Vision Transformers have it (arXiv 2106.04560).

    What it stores is about half the parameters' size, where Adam stores twice theirs.

    Args:
      momentum: of the scaled gradients; 0 keeps none.
      momentum_dtype: what it is stored in.
      b2_power: the second moment's decay at step t is 1 - t ** -b2_power,
      b2_cap: but never above this.
      least_factored: arrays of which two axes are at least so long store the second moment by row and by column alone.
      clip_rms: scaled gradients whose root mean square, array by array, is above this are shortened to it; 0 never.
      epsilon: added to squared gradients.
    """

    def b2(step, power):
        return jnp.minimum(b2_cap, 1.0 - (step + 1.0) ** -power)

    return optax.chain(
        optax.scale_by_factored_rms(True, b2_power, 0, least_factored, epsilon, b2),
        optax.clip_by_block_rms(clip_rms) if clip_rms else optax.identity(),
        optax.ema(momentum, debias=False, accumulator_dtype=momentum_dtype) if momentum else optax.identity(),
    )


# AdamW is Adam with decoupled weight decay, which every rule here may have.
RULES = {"adam": adam, "adamw": adam, "sgd": sgd, "lion": lion, "adafactor": adafactor}

# What weight decay is multiplied with, besides the parameter: from (decay, peak learning rate) to decay per rate.
DECAY_PER_RATE = {
    "learning_rate": lambda decay, peak: decay,  # as AdamW in PyTorch and optax; the paper's Table 3
    "schedule": lambda decay, peak: decay / peak,  # the learning rate's share of its peak: big_vision's recipes
}


def build(
    steps: int,
    name: str,
    peak_learning_rate: float,
    schedule: dict[str, Any],
    clip_norm: float = 0.0,
    weight_decay: float = 0.0,
    decay_follows: str = "learning_rate",
    rates: Sequence[Any] = (),
    layer_decay: float = 1.0,
    **options: Any,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Returns the optimiser, and its learning rate by step.

    Args:
      steps: of the whole run.
      name: one of `RULES`.
      peak_learning_rate: what the schedule is a share of.
      schedule: `name`, `warmup_steps` and what the named schedule takes.
      clip_norm: gradients longer than this, all taken together, are shortened to it; 0 never.
      weight_decay: decoupled (arXiv 1711.05101): taken off every kernel at each step, as a share of it, times:
      decay_follows: the "learning_rate"; or the "schedule", from 0 to 1, so that another peak leaves the decay as it
        is: 1e-4 by the schedule is 0.1 by a learning rate of 1e-3 at its peak.
      rates: pairs (pattern of a parameter's path, factor of its updates), of which the first match counts; 0 freezes.
      layer_decay: the updates of each layer are this much smaller than of the layer above it; 1 none are.
      options: for the rule.
    """
    if peak_learning_rate <= 0:
        raise UserError(f"optimizer.peak_learning_rate is above 0; got {peak_learning_rate}")
    rule = construct(pick(RULES, name, "optimizer"), f"optimizer {name}", **options)
    if weight_decay and name == "adam":
        raise UserError('optimizer "adam" has no weight decay; "adamw" is Adam with it')
    decay = pick(DECAY_PER_RATE, decay_follows, "decay_follows")(weight_decay, peak_learning_rate)
    share = construct(schedules.build, "optimizer.schedule", steps, **schedule)

    def rate(step):
        return peak_learning_rate * share(step)

    pattern_rates.check(rates, layer_decay)
    optimizer = optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        rule,
        optax.add_decayed_weights(decay, mask=kernels) if decay else optax.identity(),
        optax.scale_by_learning_rate(rate),
    )
    if rates or layer_decay != 1:
        optimizer = pattern_rates.apply(optimizer, rates, layer_decay)
    return optimizer, rate


def kernels(parameters: Parameters) -> PyTree:
    """Marks the leaves named `kernel`: what weight decay is for; biases, norms, tokens and positions are spared."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: parallel.path_of(path).split("/")[-1] == "kernel", parameters
    )
