"""`data`: what a training reads, looked at before it is read."""

from vit_jax.tools import batch_hashes, check, prepare
from vit_jax.tools.arguments import act


def main(arguments: list[str]) -> int:
    """Does what the first argument says; returns its exit code."""
    return act("data", ACTIONS, arguments)


ACTIONS = {"check": check.check, "prepare": prepare.prepare, "hash": batch_hashes.main}
