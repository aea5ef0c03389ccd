"""From labels as files have them, class names or numbers, to the numbers of classes."""

import re
from array import array
from collections.abc import Callable, Sequence

import numpy as np

from vit_jax.data import storage
from vit_jax.data.sources.packed import Labels
from vit_jax.errors import UserError, did_you_mean

NUMBER = re.compile("-?(0|[1-9][0-9]*)")  # "007" is a name
MOST_CLASSES = 1_000_000  # that numbers alone may make; more is another number in the place of labels


class Numbering:
    """Gathers labels as files have them, class names or numbers, and numbers them once all are known.

    Numbers, if all of them are, index the classes; else each is the name of a class, and the classes are sorted, or
    as `names` has them where that is given, by `origin`.
    """

    def __init__(self, names: Sequence[str] = (), origin: str = "class_names"):
        self.names = tuple(names)
        self.origin = origin
        self._codes: dict[str, int] = {}  # of each word, in the order in which they came
        self._places: list[str] = []  # where each came first
        self._values = array("i")
        self._counts = array("i")

    def __len__(self) -> int:
        return len(self._counts)

    def append(self, words: Sequence[str], place: str) -> None:
        """Takes the labels of one more example; `place` tells a person where they come from."""
        if len(words) > 1:
            words = list(dict.fromkeys(words))
        for word in words:
            code = self._codes.get(word)
            if code is None:
                code = self._codes[word] = len(self._places)
                self._places.append(place)
            self._values.append(code)
        self._counts.append(len(words))

    def extend(self, words: Sequence[str], codes: np.ndarray, counts: np.ndarray, place: Callable[[int], str]) -> None:
        """Takes the labels of many more examples: `counts` of each, one after the other, as places in `words`.

        `place` tells a person where a word comes from.
        """
        for number, word in enumerate(words):
            if word not in self._codes:
                self._codes[word] = len(self._places)
                self._places.append(place(number))
        own = np.array([self._codes[word] for word in words], np.int32)
        self._values.frombytes(own[codes].tobytes())
        self._counts.frombytes(counts.astype(np.int32).tobytes())

    def numbered(self) -> tuple[tuple[str, ...], Labels]:
        """Returns the names of the classes and the labels; raises UserError for a label that is none of them."""
        names, numbers = self._classes()
        values = np.asarray(numbers, np.int32)[np.frombuffer(self._values, np.int32)]
        return names, Labels.of(values, np.frombuffer(self._counts, np.int32))

    def _classes(self) -> tuple[tuple[str, ...], list[int]]:
        """Returns the names of the classes, and which of them each word is."""
        words = list(self._codes)
        if not words:
            raise UserError("no image has a label; give at least one")
        names = self.names
        if not all(map(NUMBER.fullmatch, words)) or set(words) <= set(names):
            names = names or tuple(sorted(words))
            numbers = {name: number for number, name in enumerate(names)}
            for word, place in zip(words, self._places, strict=True):
                if word not in numbers:
                    raise UserError(
                        f'{place}: "{word}" is no class of {self.origin}.{did_you_mean(word, names[:1000])}'
                    )
            return names, [numbers[word] for word in words]
        numbers = [int(word[:20]) for word in words]  # a longer one is out of range as well
        bound = len(names) or MOST_CLASSES
        for number, place in zip(numbers, self._places, strict=True):
            if not 0 <= number < bound:
                what = f"the {bound} classes of {self.origin}" if names else "classes, counted from 0,"
                raise UserError(f"{place}: label {number} is out of range; {what} have the numbers 0 to {bound - 1}")
        return names or tuple(map(str, range(max(numbers) + 1))), numbers


def words_of(said: object, title: str) -> list[str]:
    """Returns the labels that a value of JSON is: a name, a whole number, a list of them, or null for none.

    Raises UserError, which begins with `title`, for any other.
    """
    words = said if isinstance(said, list) else [] if said is None else [said]
    if not all(isinstance(word, str | int) and not isinstance(word, bool) for word in words):
        raise UserError(f"{title} is {said!r}; give a class name, a whole number, or a list of them")
    return [str(word) for word in words]


def said_class_names(given: Sequence, file: str = "") -> tuple[Sequence[str], str]:
    """Returns the names of the classes and where they are said: `given`, or the lines of `file`, if there is one.

    Raises UserError for a class twice.
    """
    if given:
        names = list(map(str, given))
        if len(set(names)) < len(names):
            raise UserError("class_names has a class twice; give each once")
        return names, "class_names"
    if not storage.is_file(file):
        return (), ""
    try:
        names = [line.strip() for line in storage.read(file).decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise UserError(f'"{file}" is not UTF-8; save it as UTF-8') from None
    while names and not names[-1]:
        names.pop()
    if "" in names or len(set(names)) < len(names):
        raise UserError(f'"{file}" has an empty line or a class twice; write each class once, on a line of its own')
    return names, f'"{file}"'
