"""Renames and reshapes the arrays of a foreign checkpoint by a table, a row an array; the same rows run backwards."""

import dataclasses
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
      theirs: its name in the foreign file; `*` stands for the number of the block, from "0". None where their files
        have no such array and compute as if it were zeros: it is read as zeros, and refused in writing if it is not.
      ours: its name in our tree, "/" between the levels; `*` is the same number in two digits. `{query,key}` stands
        for several names, whose arrays lie along the first axis of theirs, once rearranged. None where nothing here
        uses the array: it is passed over in reading, and written as zeros.
      pattern: einops, from their axes to ours; None where the array stays as it is. Where a name is None, the axes of
        the zeros: "classes", "1 1 width".
      optional: whether a checkpoint of the family may lack it. Zeros are written, or read, all the same.
    """

    theirs: str | None
    ours: str | None
    pattern: str | None = None
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class _Route:
    """A row in one direction; `digits` are those of the block's number on either side."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    pattern: str | None
    optional: bool
    digits: tuple[int, int]

    @property
    def of_blocks(self) -> bool:
        return any("*" in name for name in self.sources + self.targets)

    def names(self, block: int) -> list[str]:
        return [_numbered(name, block, self.digits[0]) for name in self.sources]

    def block_of(self, name: str) -> int | None:
        """Returns the block's number in `name` (0 where names have none), or None if `name` is not of this route."""
        for source in self.sources:
            found = re.fullmatch(re.escape(source).replace(r"\*", r"(\d{1,4})"), name)
            block = int(found[1]) if found and "*" in source else 0
            if found and _numbered(source, block, self.digits[0]) == name:
                return block
        return None

    def renamed(self, arrays: Sequence[np.ndarray], block: int, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
        """Returns what is made of the arrays of all `sources`; raises EinopsError for another shape."""
        if not self.sources:
            arrays = [np.zeros([sizes.get(axis) or int(axis) for axis in (self.pattern or "").split()], np.float32)]
        elif not self.targets or self.pattern is None:
            arrays = arrays[: len(self.targets)]
        else:
            named = set(re.findall(r"\w+", self.pattern))
            lengths = {axis: size for axis, size in sizes.items() if axis in named}
            array = np.stack(arrays) if len(arrays) > 1 else arrays[0]
            array = einops.rearrange(array, self.pattern, **lengths)
            if len(self.targets) > 1 and len(array) != len(self.targets):
                raise einops.EinopsError(f"{len(array)} arrays in one, wanted {len(self.targets)}")
            arrays = list(array) if len(self.targets) > 1 else [array]
        names = [_numbered(name, block, self.digits[1]) for name in self.targets]
        return dict(zip(names, arrays, strict=True))


def to_ours(arrays: Arrays, rows: Sequence[Row], sizes: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Returns `arrays` under our names and in our shapes.

    Args:
      arrays: the foreign file, name to array.
      rows: the table of its family.
      sizes: lengths of axes that the patterns take apart and no array tells, such as heads.

    Raises:
      UserError: names without a row, rows without an array, arrays of the wrong rank; all of them in one message.

    >>> rows = [
    ...     Row("layers.*.proj.weight", "block*/out/kernel", "out (heads dim) -> heads dim out"),
    ...     Row("layers.*.kv", "block*/{key,value}", "(two heads dim) width -> two width heads dim"),
    ... ]
    >>> theirs = {"layers.0.proj.weight": np.zeros((6, 6)), "layers.0.kv": np.zeros((12, 6))}
    >>> {name: array.shape for name, array in to_ours(theirs, rows, {"heads": 2, "two": 2}).items()}
    {'block00/out/kernel': (2, 3, 6), 'block00/key': (6, 2, 3), 'block00/value': (6, 2, 3)}
    """
    routes = [_Route(_each(row.theirs), _each(row.ours), row.pattern, row.optional, (1, 2)) for row in rows]
    return _rename(arrays, routes, sizes or {})


def to_theirs(arrays: Arrays, rows: Sequence[Row], sizes: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Returns our `arrays` under their names and in their shapes: the exact inverse of `to_ours`."""
    routes = [_Route(_each(row.ours), _each(row.theirs), _reversed(row.pattern), row.optional, (2, 1)) for row in rows]
    lost = [n for r in routes if not r.targets for n, a in arrays.items() if r.block_of(n) is not None and np.any(a)]
    refuse(
        "some arrays have no place in these files",
        {"unknown": [n for n in arrays if all(r.block_of(n) is None for r in routes)], "not zero": lost},
        "Choose another format to write.",
    )
    return _rename(arrays, routes, sizes or {})


def _rename(arrays: Arrays, routes: Sequence[_Route], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    came: dict[tuple[_Route, int], set[str]] = {}
    unknown, missing, misshapen = [], [], []
    for name in arrays:
        route, block = next(((r, b) for r in routes if (b := r.block_of(name)) is not None), (None, 0))
        if route is None:
            unknown.append(name)
        else:
            came.setdefault((route, block), set()).add(name)

    renamed: dict[str, np.ndarray] = {}
    depth = 1 + max((block for _, block in came), default=0)
    for route, block in ((r, b) for r in routes for b in (range(depth) if r.of_blocks else [0])):
        names = route.names(block)
        lacking = [name for name in names if name not in arrays]
        if route.optional and names and len(lacking) == len(names):
            continue
        missing += lacking
        if not lacking:
            try:
                renamed |= route.renamed([arrays[name] for name in names], block, sizes)
            except einops.EinopsError:
                misshapen += [f'{name} {arrays[name].shape} does not read as "{route.pattern}"' for name in names]
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


def _each(name: str | None) -> tuple[str, ...]:
    """Returns the names that one with braces stands for; none at all for None.

    >>> _each("mlp/{gate,hidden}/kernel")
    ('mlp/gate/kernel', 'mlp/hidden/kernel')
    """
    if name is None:
        return ()
    before, brace, rest = name.partition("{")
    choices, _, after = rest.partition("}")
    return tuple(f"{before}{choice}{after}" for choice in choices.split(",")) if brace else (name,)


def _numbered(name: str, block: int, digits: int) -> str:
    return name.replace("*", f"{block:0{digits}d}")


def _reversed(pattern: str | None) -> str | None:
    return pattern and " -> ".join(reversed(pattern.split(" -> ")))
