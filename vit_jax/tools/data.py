"""`data`: images prepared as shards."""

from vit_jax.tools.arguments import act
from vit_jax.tools.prepare import prepare


def main(arguments: list[str]) -> int:
    """Does what the first argument says; returns its exit code."""
    return act("data", ACTIONS, arguments)


ACTIONS = {"prepare": prepare}
