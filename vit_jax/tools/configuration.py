"""A config file and the changes to it on the command line: `--config=configs/scratch.py:arg --config.steps=100`."""

import ast
import importlib.util
import math
import traceback
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vit_jax.errors import UserError, did_you_mean
from vit_jax.tools.arguments import Parser

PAIRS = (("head/.*", 10.0),)
WHOLE = "{'kind': 'folder', 'path': '…'}"  # how a section is given whole
BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def load(argument: str) -> ConfigDict:
    """Returns the locked config that `path` or `path:argument` names: what the file's `get_config` returns.

    Raises:
      UserError: there is no such file, or it fails: the message says where.
    """
    path, _, argument = argument.partition(":")
    file = Path(path)
    if not file.is_file():
        others = sorted(str(other) for other in file.parent.glob("*.py")) if file.parent.is_dir() else []
        raise UserError(f'there is no config file "{path}".{did_you_mean(path, others) if others else ""}')
    spec = importlib.util.spec_from_file_location("config", file)
    if spec is None or spec.loader is None:
        raise UserError(f'config file "{path}" is not Python; its name ends in .py')
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(argument) if argument else module.get_config()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:
        raise UserError(f"config file {_where(error, path)}: {type(error).__name__}: {error}") from None
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config in {path} returns {type(config).__name__}; a ConfigDict was wanted")
    return config.lock()


def add_to(parser: Parser) -> None:
    """Lets the command line name a config and changes to it."""
    parser.add_argument("--config", metavar="FILE[:ARG]", help="a config file, with what its get_config is to be given")
    parser.add_argument("--config.FIELD", metavar="VALUE", dest="_", help="changes a field of it (any number of times)")


def changed(argument: str, words: list[str], parser: Parser) -> ConfigDict:
    """Returns the config that `load` finds, with the changes that `words`, what `parser` did not read, ask for.

    Raises:
      UserError: no such config or field, or a word that is no change of a field.
    """
    config = load(argument)
    for word in words:
        if word.startswith("--config."):
            override(config, word)
        elif word.startswith("config."):
            raise UserError(f'unexpected argument "{word}"; did you mean --{word}?')
        else:
            parser.unexpected(word)
    return config


def words(argument: str, default: str) -> list[str]:
    """Returns the words of a config's argument, those that are not given taken from `default`.

    Raises:
      UserError: more words than `default` has.

    >>> words("s16", default="b16,imagenet2012")
    ['s16', 'imagenet2012']
    """
    given, rest = argument.split(",") if argument else [], default.split(",")
    if len(given) > len(rest):
        raise UserError(f'"{argument}" has {len(given)} words; at most {len(rest)} are read, as in "{default}"')
    return given + rest[len(given) :]


def override(config: ConfigDict, word: str) -> None:
    """Changes the field that `word`, as in `--config.model.dropout=0.1`, names.

    Raises:
      UserError: no such field, or a value of another type than the field's.
    """
    name, equals, text = word.removeprefix("--").partition("=")
    if not equals:
        raise UserError(f"{word} has no value; write {word}=VALUE")
    section: Any = config
    *outer, last = name.split(".")[1:]
    for position, key in enumerate([*outer, last]):
        if not isinstance(section, ConfigDict):
            raise UserError(f'no config field "{name}"; config.{".".join(outer[:position])} is not a section')
        if not section.keys():
            raise UserError(f"config.{'.'.join(outer[:position])} is empty; give it whole, as in {WHOLE}")
        if key not in section:
            raise UserError(f'no config field "{name}".{did_you_mean(key, section.keys())}')
        if position < len(outer):
            section = section[key]
    section[last] = value(name, text, section[last])


def value(name: str, text: str, before: Any) -> Any:
    """Returns what `text` says, as the type of `before`.

    >>> value("config.steps", "1e4", 100), value("config.image_size", "(32,48)", (8, 8))
    (10000, (32, 48))
    >>> value("config.optimizer.rates", "(('positions/.*', 0), ('head/.*', 10))", ())
    (('positions/.*', 0.0), ('head/.*', 10.0))
    """
    if isinstance(before, ConfigDict):
        return _section(name, text, before)
    if isinstance(before, str):
        return text
    try:
        if isinstance(before, bool):
            return BOOLEANS[text.lower()]
        read = ast.literal_eval(text.strip())
        if _holds_pairs(before):
            return tuple((_word(word), _number(number, 0.0)) for word, number in read)
        if isinstance(before, tuple):
            return tuple(_number(part, like) for part, like in zip(read, before, strict=True))
        return _number(read, before)
    except (ValueError, SyntaxError, KeyError, TypeError, OverflowError):
        example = PAIRS if _holds_pairs(before) else before
        raise UserError(f"{name} wants {_kind(before)}, like {example}; got {text!r}") from None


def _holds_pairs(before: Any) -> bool:
    return isinstance(before, tuple) and all(isinstance(part, tuple) for part in before)


def _word(read: Any) -> str:
    if not isinstance(read, str):
        raise ValueError
    return read


def _section(name: str, text: str, before: ConfigDict) -> ConfigDict:
    try:
        given = ast.literal_eval(text.strip())
        if not all(isinstance(key, str) for key in given):
            raise TypeError
        return ConfigDict(given)
    except (ValueError, SyntaxError, TypeError, AttributeError):
        raise UserError(
            f"{name} is a section; set one of its fields: {', '.join(before.keys())}; or all of it, as in {WHOLE}"
        ) from None


def _number(read: Any, like: Any) -> Any:
    if isinstance(like, str) or isinstance(read, bool):
        raise ValueError
    if isinstance(like, int) and read == int(read):
        return int(read)  # 1e4 is a whole number too
    if isinstance(like, float) and math.isfinite(read):
        return float(read)
    raise ValueError


def _kind(before: Any) -> str:
    if _holds_pairs(before):
        return "any number of pairs in parentheses, each of a word and a number"
    if isinstance(before, tuple):
        return f"{len(before)} values in parentheses"
    kinds = {bool: "true or false", int: "a whole number", float: "a number"}
    return kinds.get(type(before), "to be changed in the config file")


def _where(error: Exception, path: str) -> str:
    if isinstance(error, SyntaxError):
        return f"{path}, line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{path}, line {lines[-1]}" if lines else path
