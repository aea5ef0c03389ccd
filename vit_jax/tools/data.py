"""`data`: images before a training."""

from vit_jax.tools import check
from vit_jax.tools.arguments import act


def main(arguments: list[str]) -> int:
    """Does what the first argument says; returns its exit code."""
    return act("data", ACTIONS, arguments)


ACTIONS = {"check": check.check}
