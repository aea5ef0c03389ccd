"""Several sources as one, each with its weight."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.data.examples import Concatenation, Source, with_common_classes
from vit_jax.errors import UserError, check_kind


class Mixture(Concatenation):
    """The examples of `sources`, one after the other; in training each source has its turn by its weight."""

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]):
        super().__init__(sources)
        self.weights = tuple(weights)


def mixture(split: str, parts: Mapping[str, Mapping[str, Any]]) -> Source:
    """Several sources at once: `parts` names each and says of what kind it is, with a `weight` beside its options.

    A training shows each part in proportion to its weight, whatever its size, and goes through each in epochs of its
    own; an evaluation counts every example of all of them once. Every part has the same split. Parts stand in the
    order of their names, whatever that of the section; classes are those of all parts, in the order in which they
    first come.

    Raises:
      UserError: fewer than two parts, or a weight that is no number above 0.
    """
    from vit_jax.data import sources  # which has this kind too

    if len(parts) < 2:
        raise UserError(f"a mixture has at least two parts; got {', '.join(parts) or 'none'}")
    built, weights = [], []
    for name, section in sorted(parts.items()):
        check_kind(f"parts.{name}", section, dict)
        options = dict(section)
        weight = options.pop("weight", None)
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < math.inf:
            raise UserError(f"the weight of {name} is {weight}; give each part of a mixture one above 0")
        if "kind" not in options:
            raise UserError(f"part {name} of the mixture has no kind; give it one of {', '.join(sources.SOURCES)}")
        if options["kind"] == "mixture":
            raise UserError(f"part {name} is a mixture itself, whose weights would not count; list its parts instead")
        built.append(sources.build(split=split, **options))
        weights.append(float(weight))
    return Mixture(with_common_classes(built), weights)
