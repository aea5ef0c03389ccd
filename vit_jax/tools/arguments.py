"""What the commands read from their command line, and a line for each way to get it wrong."""

import argparse
from collections.abc import Callable, Mapping
from typing import NoReturn

from vit_jax.errors import UserError, did_you_mean, pick

# What --workdir is, of a command that uses what was trained: train.start.trained.
TRAINED = "a run's folder, one checkpoint's in it, or published weights: a file, a folder, or a name (`weights list`)"


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are UserErrors; it takes no abbreviations."""

    def __init__(self, verb: str, description: str):
        super().__init__(prog=f"vit-jax {verb}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises UserError with argparse's message and where to read on."""
        raise UserError(f"{message}; see {self.prog} --help")

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Returns the values; raises UserError naming the nearest option for one that is unknown."""
        found, left = self.parse_known_args(arguments)
        for word in left:
            self.unexpected(word)
        return found

    def unexpected(self, word: str) -> NoReturn:
        """Raises UserError for an argument that nothing reads."""
        name = word.split("=")[0]
        if not word.startswith("-"):
            raise UserError(f'unexpected argument "{word}"; options are written --name=value')
        options = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        raise UserError(f'no option "{name}".{did_you_mean(name, options)}')


def act(verb: str, actions: Mapping[str, Callable[[list[str]], int]], arguments: list[str]) -> int:
    """Does the action of `verb` that the first argument names; returns its exit code."""
    action, *rest = arguments or ["--help"]
    if action in ("-h", "--help"):
        print(f"Usage: vit-jax {verb} ACTION …\n")
        for name, function in actions.items():
            print(f"  {name:8} {(function.__doc__ or '').partition('.')[0]}")
        print(f"\nvit-jax {verb} ACTION --help says what an action reads.")
        return 0
    return pick(actions, action, f"action of {verb}")(rest)
