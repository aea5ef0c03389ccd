"""The errors that a user can mend."""

import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class UserError(ValueError):
    """Says what came, what was wanted and what to do; commands print it as one line and exit with code 2."""


def one_line(text: str) -> str:
    """Returns `text` with its control characters, which can break a line and command a terminal, as escapes.

    >>> print(one_line("one\\ntwo\\x1b[2J"))
    one\\ntwo\\x1b[2J
    """
    controls = "[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]"
    return re.sub(controls, lambda found: found[0].encode("unicode_escape").decode(), text)


def did_you_mean(word: str, known: Iterable[object]) -> str:
    """Returns ` Did you mean "depth"?` for a near miss, else the words that would do.

    >>> did_you_mean("dpeth", ["width", "depth"])
    ' Did you mean "depth"?'
    """
    words = [str(known_word) for known_word in known]
    near = difflib.get_close_matches(word, words, n=1)
    return f' Did you mean "{near[0]}"?' if near else f" Choose from: {', '.join(words)}."


def pick(table: Mapping[str, T], word: str, what: str) -> T:
    """Returns `table[word]`; raises UserError naming the nearest word when there is none.

    >>> pick({"cosine": 1}, "cosin", "schedule")
    Traceback (most recent call last):
    vit_jax.errors.UserError: unknown schedule "cosin". Did you mean "cosine"?
    """
    if word not in table:
        raise UserError(f'unknown {what} "{word}".{did_you_mean(word, table)}')
    return table[word]


def construct(constructor: Callable[..., T], where: str, /, *given: Any, **options: Any) -> T:
    """Calls `constructor(*given, **options)`; a key it does not read, or lacks, is a UserError that names the key.

    Config sections are unpacked through here, so nothing in a config is silently ignored.
    """
    signature = inspect.signature(constructor)
    try:
        signature.bind(*given, **options)
    except TypeError as error:
        named = [p.name for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD][len(given) :]
        takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        for key in options:
            if key not in named and not takes_any:
                raise UserError(f'{where} reads no "{key}".{did_you_mean(key, named)}') from None
        raise UserError(f"{where}: {error}") from None
    for key, value in options.items():
        if key in signature.parameters:
            check_kind(f"{where}.{key}", value, signature.parameters[key].annotation)
    return constructor(*given, **options)


# What a value is that a parameter is annotated with, for people.
KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a word"),
    dict: ((Mapping,), "a section"),
    Mapping: ((Mapping,), "a section"),
    Sequence: ((list, tuple), "values in parentheses"),
}


def check_kind(name: str, value: object, annotation: Any) -> None:
    """Raises UserError if the value is of another kind than the annotation says; those not in KINDS say nothing.

    >>> check_kind("config.steps", "6", int)
    Traceback (most recent call last):
    vit_jax.errors.UserError: config.steps is a whole number; got '6'
    """
    choices = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    choices = [KINDS.get(typing.get_origin(choice) or choice) for choice in choices]
    if not all(choices):
        return
    kinds = [kind for choice in choices if choice for kind in choice[0]]
    if not isinstance(value, tuple(kinds)) or (isinstance(value, bool) and bool not in kinds):
        raise UserError(f"{name} is {' or '.join(choice[1] for choice in choices if choice)}; got {value!r}")
