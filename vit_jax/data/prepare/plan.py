"""What is to be made of a source, settled before any of it is: the same plan, the same bytes."""

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit_jax.data.examples import Example, Source, most_labels_of
from vit_jax.data.prepare import records
from vit_jax.errors import UserError

SHARD_BYTES = 256 * 10**6  # of a shard, about: large enough for a disk, small enough to be made anew
PROBED = 64  # examples of a split that are looked at before


@dataclass(frozen=True)
class Split:
    """So many examples in so many shards; `probe` tells a source from another: a hash of some of its examples."""

    examples: int
    shards: int
    probe: str


@dataclass(frozen=True)
class Plan:
    """Everything that the bytes of the shards depend on; `source` says for people where the examples are from.

    `short_side` is what the shorter side of an image is shrunk to, 0: nothing is; `skip_bad` leaves out what cannot be
    decoded.
    """

    name: str
    class_names: tuple[str, ...]
    most_labels: int | None
    short_side: int
    skip_bad: bool
    splits: dict[str, Split]
    source: Any


def settle(name: str, sources: Mapping[str, Source], source: Any, short_side: int, skip_bad: bool, shards: int) -> Plan:
    """Returns the plan for `sources`, a source a split, each in `shards` shards; 0: of SHARD_BYTES, about.

    Raises UserError for a name or a number that will not do, or where the splits differ in their classes.
    """
    for word in (name, *sources):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", word):
            raise UserError(f'"{word}" is no name for files; write one in small letters, digits and _')
    if short_side < 0 or shards < 0:
        raise UserError(f"short_side {short_side} and {shards} shards; give at least 1, or 0 to leave it open")
    first, *others = sources.values()
    for other in others:
        if tuple(other.class_names) != tuple(first.class_names):
            raise UserError("the splits differ in their classes; prepare each by itself")
    most_labels = most_labels_of(sources.values())
    splits = {split: _settle_split(each, short_side, shards, root_of(source)) for split, each in sources.items()}
    return Plan(name, tuple(first.class_names), most_labels, short_side, skip_bad, splits, source)


def _settle_split(source: Source, short_side: int, shards: int, root: str) -> Split:
    size = len(source)
    if not size:
        raise UserError("the data source is empty; there is nothing to prepare")
    digest = hashlib.sha256()
    total, readable = 0, 0
    for index in np.unique(np.linspace(0, size - 1, PROBED).astype(int)):
        try:
            example = source[int(index)]
            digest.update(repr((name_of(example, root), example.labels)).encode())
            digest.update(example.image if isinstance(example.image, bytes) else example.image.tobytes())
            total, readable = total + len(records.stored(example, short_side)[0]), readable + 1
        except UserError:
            continue  # named, with all others that are bad, when the shards are made
    by_size = math.ceil(total / max(readable, 1) * size / SHARD_BYTES)
    return Split(size, min(max(shards or by_size, 1), size), digest.hexdigest())


def root_of(source: Any) -> str:
    """Returns the folder that a source's section names, with a slash; "" where it names none."""
    path = source.get("path", "") if isinstance(source, Mapping) else ""
    if "://" in path:
        return f"{path.rstrip('/')}/"
    return f"{Path(path).expanduser()}/" if path else ""


def name_of(example: Example, root: str) -> str:
    """Returns the name of an example below `root`: the same wherever the data lies."""
    return example.name.removeprefix(root)


def as_terms(plan: Plan) -> dict[str, Any]:
    """Returns the plan as JSON has it."""
    terms = dataclasses.asdict(plan)
    return terms | {"class_names": list(plan.class_names)}


def refuse_another(plan: Plan, folder: Path, earlier: Mapping[str, Any]) -> None:
    """Raises UserError where the plan by which `folder` was begun has other terms, saying which.

    To leave out what is bad may be said later: without it no shard that holds any was finished.
    """
    terms = as_terms(plan)
    differ = [key for key in terms if key != "source" and terms[key] != earlier.get(key)]
    if plan.skip_bad and "skip_bad" in differ:
        differ.remove("skip_bad")
    if differ:
        what = "; ".join(f"{key}: {_short(earlier.get(key))}, now {_short(terms[key])}" for key in differ)
        raise UserError(f'"{folder}" was begun by another plan ({what}); give another --out, or delete that folder')


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
