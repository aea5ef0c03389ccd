"""Renames and reshapes the arrays of a foreign checkpoint by a table, a row an array; the same rows run backwards."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import einops
import numpy as np

from vit_jax.errors import UserError

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
    """One array under both its names.

    Attributes:
      theirs: its name in the foreign file; `*` stands for the number of the block, from "0".
      ours: its name in our tree, "/" between the levels; `*` is the same number in two digits.
      pattern: einops, from their axes to ours; None where the array stays as it is.
      optional: whether a checkpoint of the family may lack it.
    """

    theirs: str
    ours: str
    pattern: str | None = None
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class _Route:
    """A row in one direction; `digits` are those of the block's number on either side."""

    source: str
    target: str
    pattern: str | None
    optional: bool
    digits: tuple[int, int]

    def name(self, block: int) -> str:
        return _numbered(self.source, block, self.digits[0])

    def renamed(self, block: int) -> str:
        return _numbered(self.target, block, self.digits[1])

    def block_of(self, name: str) -> int | None:
        """Returns the block's number in `name` (0 where names have none), or None if `name` is not of this route."""
        if "*" not in self.source:
            return 0 if name == self.source else None
        found = re.fullmatch(re.escape(self.source).replace(r"\*", r"(\d{1,4})"), name)
        block = int(found[1]) if found else 0
        return block if found and self.name(block) == name else None


def to_ours(arrays: Arrays, rows: Sequence[Row], sizes: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Returns `arrays` under our names and in our shapes.

    Args:
      arrays: the foreign file, name to array.
      rows: the table of its family.
      sizes: lengths of axes that the patterns take apart and no array tells, such as heads.

    Raises:
      UserError: names without a row, rows without an array, arrays of the wrong rank; all of them in one message.

    >>> rows = [Row("layers.*.proj.weight", "block*/out/kernel", "out (heads dim) -> heads dim out")]
    >>> ours = to_ours({"layers.0.proj.weight": np.zeros((6, 6))}, rows, {"heads": 2})
    >>> {name: array.shape for name, array in ours.items()}
    {'block00/out/kernel': (2, 3, 6)}
    """
    routes = [_Route(row.theirs, row.ours, row.pattern, row.optional, (1, 2)) for row in rows]
    return _rename(arrays, routes, sizes or {})


def to_theirs(arrays: Arrays, rows: Sequence[Row], sizes: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Returns our `arrays` under their names and in their shapes: the exact inverse of `to_ours`."""
    routes = [_Route(row.ours, row.theirs, _reversed(row.pattern), row.optional, (2, 1)) for row in rows]
    return _rename(arrays, routes, sizes or {})


def _rename(arrays: Arrays, routes: Sequence[_Route], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    renamed, came, unknown, misshapen = {}, set(), [], []
    for name, array in arrays.items():
        route, block = next(((r, b) for r in routes if (b := r.block_of(name)) is not None), (None, 0))
        if route is None:
            unknown.append(name)
            continue
        came.add((route, block))
        try:
            renamed[route.renamed(block)] = _rearranged(array, route.pattern, sizes)
        except einops.EinopsError:
            misshapen.append(f'{name} {array.shape} does not read as "{route.pattern}"')

    depth = 1 + max((block for _, block in came), default=0)
    missing = [
        route.name(block)
        for route in routes
        for block in (range(depth) if "*" in route.source else [0])
        if (route, block) not in came and not route.optional
    ]
    refuse(
        "the arrays are not those of this family of checkpoints",
        {"unknown": unknown, "missing": missing, "of another shape": misshapen},
        "Is the file complete, and of this family?",
    )
    return renamed


def refuse(what: str, problems: Mapping[str, Sequence[str]], advice: str) -> None:
    """Raises one UserError that lists all `problems` (kind to names); nothing happens when there are none."""
    listed = [f"{kind}: {shortened(sorted(names))}" for kind, names in problems.items() if names]
    if listed:
        raise UserError(f"{what}; {'; '.join(listed)}. {advice}")


def shortened(names: Sequence[str], most: int = 8) -> str:
    """Returns the names with commas between them, the last ones counted instead if there are more than `most`.

    >>> shortened(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def units_of(names: Iterable[str], pattern: str) -> tuple[int, ...]:
    """Returns how many units each stage of a ResNet has; the groups of `pattern` are the numbers of stage and unit.

    >>> units_of(["block1/unit1/gn", "block1/unit2/gn", "block2/unit1/gn", "head"], r"block(\\d)/unit(\\d)/.*")
    (2, 1)
    """
    units = {found.groups() for name in names if (found := re.fullmatch(pattern, name))}
    return tuple(sum(stage == other for other, _ in units) for stage in sorted({stage for stage, _ in units}))


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
        wanted = f"the grid of {rows}x{columns} that was given" if grid else "a square grid"
        raise UserError(
            f"a table of {len(table)} positions, {prefix} of them for prefix tokens, leaves {places} for the patches, "
            f"which is not {wanted}; give grid=(rows, columns) of the images the model was trained on"
        )
    return table[:prefix], einops.rearrange(
        table[prefix:], "(rows columns) width -> rows columns width", rows=rows, columns=columns
    )


def _numbered(name: str, block: int, digits: int) -> str:
    return name.replace("*", f"{block:0{digits}d}")


def _reversed(pattern: str | None) -> str | None:
    return pattern and " -> ".join(reversed(pattern.split(" -> ")))


def _rearranged(array: np.ndarray, pattern: str | None, sizes: Mapping[str, int]) -> np.ndarray:
    if pattern is None:
        return array
    named = set(re.findall(r"\w+", pattern))
    return einops.rearrange(array, pattern, **{axis: size for axis, size in sizes.items() if axis in named})
