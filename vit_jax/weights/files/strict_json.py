"""JSON that strangers wrote: one object, no larger and no deeper than any config is, no key in it twice."""

import json
from typing import Any

MOST_BYTES = 2**23  # parsed, it takes up to thirty times that; a config with 21,843 class names has 2 MB
MOST_LEVELS = 50  # that objects and lists lie in one another; what walks them recurses


def parse(text: bytes) -> dict[str, Any]:
    """Returns the object that `text` holds; raises ValueError if it holds anything else."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"its JSON has more than {MOST_BYTES:,} bytes")
    try:
        found = json.loads(text.decode(), object_pairs_hook=_each_key_once)
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"its JSON holds a {type(found).__name__}, wanted an object")
    _refuse_depth(found)
    return found


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its JSON has a key twice in one object")
    return found


def _refuse_depth(found: dict[str, Any]) -> None:
    level: list[Any] = [found]
    for _ in range(MOST_LEVELS):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [value for values in inner for value in values]
        if not level:
            return
    raise ValueError("its JSON is nested too deep")
