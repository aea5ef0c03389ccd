"""Rates by pattern: parts of a model that learn faster, more slowly, or not at all.

A parameter's path is taken without the "model/" that it begins with where an objective has parameters of its own.
"""

import difflib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from vit_jax import parallel
from vit_jax.errors import UserError
from vit_jax.shapes import Parameters, PyTree

# (pattern of a parameter's path, what its updates are multiplied with). The first full match counts; without one, 1.
Rates = Sequence[tuple[str, float]]

BLOCK = re.compile(r"encoder/block(\d+)/.*")
EMBEDDING = re.compile(r"(stem|patch_embedding|class_token|positions)(/.*)?")


def apply(optimizer: optax.GradientTransformation, rates: Rates, layer_decay: float) -> optax.GradientTransformation:
    """Returns `optimizer` with each parameter's update, weight decay and all, multiplied with its factor.

    What has factor 0 is frozen: `optimizer` does not see it, so nothing is stored for it and no norm counts it.

    Args:
      optimizer: whose updates are to be added to the parameters.
      rates: factors by pattern.
      layer_decay: multiplied with those; see `by_layer`.

    Raises:
      UserError: when `init` sees the parameters: a pattern matches none of them, or there are no layers.
    """

    def factors(parameters: Parameters) -> PyTree:
        refuse_unmatched(rates, parameters)
        slower = by_layer(parameters, layer_decay) if layer_decay != 1.0 else ()
        found = _map(lambda path: factor(path, rates) * factor(path, slower), parameters)
        if not any(jax.tree.leaves(found)):
            raise UserError("optimizer.rates freezes every parameter, so nothing would be learned; leave some out")
        return found

    def parts(parameters: Parameters) -> PyTree:
        return jax.tree.map(lambda each: "trained" if each else "frozen", factors(parameters))

    def scale(updates: PyTree, _: PyTree) -> PyTree:
        return jax.tree.map(lambda update, each: update * each, updates, factors(updates))

    return optax.chain(
        optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, parts),
        optax.stateless(scale),
    )


def frozen(rates: Rates, parameters: Parameters) -> Parameters:
    """Returns `parameters`, those with factor 0 as constants, so that no gradient of theirs is computed."""
    return jax.tree.map(
        lambda leaf, each: leaf if each else jax.lax.stop_gradient(leaf),
        parameters,
        _map(lambda path: factor(path, rates), parameters),
    )


def factor(path: str, rates: Rates) -> float:
    """Returns the factor of the first pattern that matches the whole of `path`, else 1.

    >>> factor("head/bias", [("head/kernel", 0.0), ("head/.*", 10.0), (".*", 0.1)])
    10.0
    """
    return next((each for pattern, each in rates if re.fullmatch(pattern, path)), 1.0)


def by_layer(parameters: Parameters, decay: float) -> Rates:
    """Returns rates that fall from the head down: of layer l, decay ** (blocks + 1 - l) (arXiv 2106.08254, BEiT).

    Layer 0 is all that comes before the blocks, layer i + 1 is block i; what comes after them has factor 1.

    Raises:
      UserError: there are no blocks, as in a ResNet.
    """
    blocks = {match[1] for path in paths(parameters) if (match := BLOCK.fullmatch(path))}
    if not blocks:
        raise UserError("optimizer.layer_decay is for models with blocks, and this one has none; set it to 1.0")
    layers = [EMBEDDING.pattern, *(f"encoder/block{block}/.*" for block in sorted(blocks, key=int))]
    return [(pattern, decay ** (len(layers) - layer)) for layer, pattern in enumerate(layers)]


def check(rates: Sequence[Any], layer_decay: float) -> None:
    """Raises UserError for a rate that is no pair of a pattern and a factor, or a decay that is no share."""
    for rate in rates:
        match rate:
            case (str(pattern), float() | int() as each) if 0 <= each < math.inf:
                _compile(pattern)
            case _:
                raise UserError(
                    "optimizer.rates are pairs of a pattern and a factor of at least 0, like (('head/.*', 10.0),); "
                    f"got {rate!r}"
                )
    if not 0 < layer_decay <= 1:
        raise UserError(f"optimizer.layer_decay is above 0 and at most 1; got {layer_decay}")


def _compile(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f'optimizer.rates: "{pattern}" is no regular expression: {error}') from None


def refuse_unmatched(rates: Rates, parameters: Parameters) -> None:
    """Raises UserError for a pattern that matches no parameter, naming the paths that look most like it."""
    known = paths(parameters)
    for pattern, _ in rates:
        if not any(re.fullmatch(pattern, path) for path in known):
            near = ", ".join(difflib.get_close_matches(pattern, known, n=3, cutoff=0.0))
            raise UserError(f'optimizer.rates: "{pattern}" matches no parameter; near it are {near}')


def paths(parameters: Parameters) -> list[str]:
    """Returns the path of every parameter, as patterns have it.

    >>> paths({"model": {"head": {"bias": 0}}, "mask_token": 0})
    ['mask_token', 'head/bias']
    """
    return jax.tree.leaves(_map(lambda path: path, parameters))


def _map(function: Callable[[str], Any], parameters: Parameters) -> PyTree:
    return jax.tree_util.tree_map_with_path(
        lambda path, _: function(parallel.path_of(path).removeprefix("model/")), parameters
    )
