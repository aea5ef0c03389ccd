"""From the `optimizer` section of a config to an optax transformation: clip, scale, decay, learning rate."""

from typing import Any

import jax
import optax

from vit_jax import parallel
from vit_jax.errors import UserError, construct, pick
from vit_jax.shapes import Parameters, PyTree


def constant(steps: int) -> optax.Schedule:
    """The peak throughout."""
    del steps
    return optax.constant_schedule(1.0)


def linear(steps: int, end: float = 0.0) -> optax.Schedule:
    """Falls in a straight line from the peak to `end` of it (paper, table 3: JFT and ImageNet-21k)."""
    return optax.linear_schedule(1.0, end, steps)


def cosine(steps: int, end: float = 0.0) -> optax.Schedule:
    """Falls along half a cosine from the peak to `end` of it (paper, tables 3 and 4)."""
    return optax.cosine_decay_schedule(1.0, steps, end)


def rsqrt(steps: int, timescale: int = 10_000, cooldown_steps: int = 0) -> optax.Schedule:
    """Falls as 1 / sqrt(1 + step / timescale), linearly to zero over the last `cooldown_steps` (arXiv 2106.04560)."""

    def schedule(step):
        cooling = optax.linear_schedule(1.0, 0.0, cooldown_steps, steps - cooldown_steps)(step) if cooldown_steps else 1
        return jax.lax.rsqrt(1.0 + step / timescale) * cooling

    return schedule


SCHEDULES = {"constant": constant, "linear": linear, "cosine": cosine, "rsqrt": rsqrt}


def learning_rate(
    peak: float, steps: int, name: str = "cosine", warmup_steps: int = 0, **options: Any
) -> optax.Schedule:
    """Rises linearly from 0 to `peak` over `warmup_steps`, then follows the named schedule for the steps that are left.

    >>> rate = learning_rate(peak=2.0, steps=20, name="linear", warmup_steps=10)
    >>> [float(rate(step)) for step in (0, 5, 10, 15, 20)]
    [0.0, 1.0, 2.0, 1.0, 0.0]
    """
    if not 0 <= warmup_steps < steps:
        raise UserError(f"warm-up takes {warmup_steps} of {steps} steps; it must leave at least one")
    after = construct(pick(SCHEDULES, name, "schedule"), f"schedule {name}", steps - warmup_steps, **options)
    warmup = optax.linear_schedule(0.0, 1.0, warmup_steps)
    factor = optax.join_schedules([warmup, after], [warmup_steps]) if warmup_steps else after
    return lambda step: peak * factor(step)


def adam(b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8, momentum_dtype: str = "float32"):
    """Adam (paper, section 4.1: b1 0.9, b2 0.999)."""
    return optax.scale_by_adam(b1, b2, epsilon, mu_dtype=momentum_dtype)


def sgd(momentum: float = 0.9, momentum_dtype: str = "float32"):
    """SGD with momentum (paper, section 4.1: fine-tuning)."""
    return optax.trace(momentum, accumulator_dtype=momentum_dtype)


# AdamW is Adam with decoupled weight decay, which every rule here may have.
RULES = {"adam": adam, "adamw": adam, "sgd": sgd}


def build(
    steps: int,
    name: str,
    peak_learning_rate: float,
    schedule: dict[str, Any],
    clip_norm: float = 0.0,
    weight_decay: float = 0.0,
    **options: Any,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Returns the optimiser, and its learning rate by step.

    Args:
      steps: of the whole run.
      name: one of `RULES`.
      peak_learning_rate: what the schedule is a fraction of.
      schedule: `name`, `warmup_steps` and what the named schedule takes.
      clip_norm: gradients longer than this, all taken together, are shortened to it; 0 never.
      weight_decay: decoupled (arXiv 1711.05101): each step takes learning rate x this x the parameter off every kernel.
      options: for the rule.
    """
    rule = construct(pick(RULES, name, "optimizer"), f"optimizer {name}", **options)
    if weight_decay and name == "adam":
        raise UserError('optimizer "adam" has no weight decay; "adamw" is Adam with it')
    rate = construct(learning_rate, "optimizer.schedule", peak_learning_rate, steps, **schedule)
    optimizer = optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        rule,
        optax.add_decayed_weights(weight_decay, mask=kernels) if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(rate),
    )
    return optimizer, rate


def kernels(parameters: Parameters) -> PyTree:
    """Marks the leaves named `kernel`: what weight decay is for; biases, norms, tokens and positions are spared."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: parallel.path_of(path).split("/")[-1] == "kernel", parameters
    )
