"""The last norm, which some families have before the pool and some behind it."""

from collections.abc import Mapping
from typing import Any

from vit_jax.weights.rename import Arrays

# Where our names have it, by the option.
PLACES = {"tokens": "encoder/norm/", "features": "norm_features/"}


def moved(options: Mapping[str, Any], ours: Arrays, norm_last: str) -> tuple[Mapping[str, Any], Arrays]:
    """Returns the same model with its last norm before or behind the pool, as `norm_last` says, if both compute alike.

    They do where the features are one token as it came from the encoder; any other model comes back as it is.

    Args:
      options: of `models.build`.
      ours: our names, "/" between the levels, to arrays.
      norm_last: as in `Architecture`.
    """
    before = options.get("norm_last", "tokens")
    if options.get("pool", "class_token") != "class_token" or not {before, norm_last} <= PLACES.keys():
        return options, ours
    was, now = PLACES[before], PLACES[norm_last]
    renamed = {name.replace(was, now) if name.startswith(was) else name: array for name, array in ours.items()}
    return {**options, "norm_last": norm_last}, renamed
