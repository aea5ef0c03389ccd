"""The words that name a part of a dataset: `train`, `train[:98%]`, `train[98%:]`, `train[:500]`."""

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from vit_jax.data.examples import Selection, Source
from vit_jax.errors import UserError

SPLIT = re.compile(r"(?P<name>[\w-]+)(?P<slice>\[(?P<start>\d+%?)?:(?P<stop>\d+%?)?\])?")


def sliced(constructor: Callable[..., Source]) -> Callable[..., Source]:
    """Lets the `split` of `constructor(split, **options)` carry a slice.

    The slice is cut from one fixed shuffle of the split, so that a part of a class-sorted split has all its classes;
    two slices that do not overlap share no example. Raises UserError for a slice that cannot be read, is empty, or
    asks for more examples than there are.
    """

    @functools.wraps(constructor)
    def build(split: str, **options: Any) -> Source:
        match = SPLIT.fullmatch(split)
        if match is None:
            raise UserError(f'cannot read split "{split}"; write it as train, train[:98%], train[98%:] or train[:500]')
        source = constructor(match["name"], **options)
        if match["slice"] is None:
            return source
        start = _position(match["start"] or "0", len(source), split)
        stop = _position(match["stop"] or "100%", len(source), split)
        if start >= stop:
            raise UserError(f'split "{split}" is empty: it runs from {start} to {stop} of {len(source)} examples')
        # RandomState's stream is frozen for good, default_rng's is not; a hold-out must never change.
        shuffled = np.random.RandomState(0).permutation(len(source))
        return Selection(source, np.sort(shuffled[start:stop].astype(np.int32)))

    return build


def _position(word: str, size: int, split: str) -> int:
    """Returns the place that "98%" or "500" names among `size` examples."""
    number = int(word.removesuffix("%"))
    limit = 100 if word.endswith("%") else size
    if number > limit:
        raise UserError(f'split "{split}" reaches {word}, but there are {size} examples')
    return round(number * size / 100) if word.endswith("%") else number
