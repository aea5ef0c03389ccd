"""How the learning rate goes over a run, as a share of its peak."""

from typing import Any

import jax
import optax

from vit_jax.errors import UserError, construct, pick


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


def build(steps: int, name: str = "cosine", warmup_steps: int = 0, **options: Any) -> optax.Schedule:
    """Rises linearly from 0 to 1 over `warmup_steps`, then follows the named schedule for the steps that are left.

    >>> share = build(steps=20, name="linear", warmup_steps=10)
    >>> [float(share(step)) for step in (0, 5, 10, 15, 20)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if not 0 <= warmup_steps < steps:
        raise UserError(
            f"warm-up takes {warmup_steps} of {steps} steps; it must leave at least one: give more steps, or fewer as "
            "config.optimizer.schedule.warmup_steps"
        )
    after = construct(pick(SCHEDULES, name, "schedule"), f"schedule {name}", steps - warmup_steps, **options)
    warmup = optax.linear_schedule(0.0, 1.0, warmup_steps)
    return optax.join_schedules([warmup, after], [warmup_steps]) if warmup_steps else after
