"""Tables of positions in foreign files: flat, the prefix tokens' first; here a grid, and the prefix tokens' apart."""

import dataclasses
import math
from collections.abc import MutableMapping

import einops
import numpy as np

from vit_jax.errors import UserError
from vit_jax.shapes import Parameters
from vit_jax.weights import facts
from vit_jax.weights.loaded import Loaded

TOKENS = ("class_token", "distillation_token")


def unfold(ours: MutableMapping[str, np.ndarray], image_size: tuple[int, int] | None = None) -> None:
    """Puts `positions/grid` and `positions/prefix` in the place of `positions/table` (tokens, width).

    Args:
      ours: our names to arrays; the class and distillation tokens among them have a position if the table has a row
        for them beside the grid's.
      image_size: (height, width) in pixels of the images that they were learned on, where that is known; None for a
        square grid.

    Raises:
      UserError: the table is not that of a grid.
    """
    table = ours.pop("positions/table")
    grid = None
    if image_size:
        stride = facts.size(ours).stride
        grid = image_size[0] // stride[0], image_size[1] // stride[1]
    tokens = sum(len(ours[name]) for name in TOKENS if name in ours)
    prefix = 0 if tokens and len(table) == (math.prod(grid) if grid else math.isqrt(len(table)) ** 2) else tokens
    prefixes, ours["positions/grid"] = split_positions(table, prefix, grid)
    if prefix:
        ours["positions/prefix"] = prefixes


def taken_in(loaded: Loaded) -> Loaded:
    """Returns the same model with a class token that has taken its position in, which the model adds to it anyway."""
    table = dict(loaded.parameters.get("positions", {}))
    if "prefix" not in table or "distillation_token" in loaded.parameters:
        return loaded
    token = loaded.parameters["class_token"] + table.pop("prefix")
    return _changed(loaded, {"positions": table, "class_token": token}, "learned_patches")


def of_zeros(loaded: Loaded) -> Loaded:
    """Returns the same model with a position for its class token, of zeros if it had none."""
    table = dict(loaded.parameters.get("positions", {}))
    if "grid" not in table or "prefix" in table or "class_token" not in loaded.parameters:
        return loaded
    zeros = np.zeros_like(loaded.parameters["class_token"])
    return _changed(loaded, {"positions": table | {"prefix": zeros}}, "learned")


def _changed(loaded: Loaded, changes: Parameters, positions: str) -> Loaded:
    recipe = dataclasses.replace(loaded.recipe, model=loaded.recipe.model | {"positions": positions})
    return Loaded({**loaded.parameters, **changes}, recipe)


def fold(ours: MutableMapping[str, np.ndarray]) -> None:
    """Puts `positions/table` in the place of the two that `unfold` makes.

    Raises:
      UserError: the model learned no positions.
    """
    if "positions/grid" not in ours:
        raise UserError("these files hold learned positions, and the model has none; choose another format to write")
    table = einops.rearrange(ours.pop("positions/grid"), "rows columns width -> (rows columns) width")
    ours["positions/table"] = np.concatenate([ours.pop("positions/prefix", table[:0]), table])


def split_positions(
    table: np.ndarray, prefix: int, grid: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Splits a flat table of positions (tokens, width) into those of `prefix` tokens and the grid of the patches.

    Args:
      table: positions, the prefix tokens' first, then the patches' row by row.
      prefix: how many prefix tokens have one.
      grid: (rows, columns); None for a square.

    Returns:
      Arrays (prefix, width) and (rows, columns, width).

    Raises:
      UserError: the rest of the table is not a square, or not the grid that was given.
    """
    places = len(table) - prefix
    rows, columns = grid or (math.isqrt(max(places, 0)),) * 2
    if places < 1 or rows * columns != places:
        wanted = f"the grid of {rows}x{columns} that its images make" if grid else "a square grid"
        raise UserError(
            f"a table of {len(table)} positions, {prefix} of them for prefix tokens, leaves {places} for the patches, "
            f"which is not {wanted}; is the file damaged, or the config that belongs beside it absent?"
        )
    return table[:prefix], einops.rearrange(
        table[prefix:], "(rows columns) width -> rows columns width", rows=rows, columns=columns
    )
