"""What millions of examples are known by, held in a few arrays: their names and their labels."""

import re
from array import array
from collections.abc import Sequence

import numpy as np

from vit_jax.errors import UserError, did_you_mean

NUMBER = re.compile("-?(0|[1-9][0-9]*)")  # "007" is a name
MOST_CLASSES = 1_000_000  # that numbers alone may make; more is another number in the column of labels


class Strings:
    """A list of strings as one run of bytes, UTF-8, and the place where each of them ends."""

    def __init__(self, text: bytearray | np.ndarray | None = None, ends: "array[int] | np.ndarray | None" = None):
        self.text = bytearray() if text is None else text
        self.ends = array("q") if ends is None else ends

    def append(self, string: str | bytes) -> None:
        """Puts one more at the end; raises UnicodeEncodeError for what no UTF-8 can say."""
        assert isinstance(self.text, bytearray) and isinstance(self.ends, array)
        self.text += string if isinstance(string, bytes) else string.encode()
        self.ends.append(len(self.text))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        end = int(self.ends[index])
        return bytes(self.text[int(self.ends[index - 1]) if index else 0 : end]).decode(errors="surrogateescape")


class Labels:
    """The labels of many examples: those of example i are `values[ends[i - 1] : ends[i]]`.

    `most` is None where each has exactly one, else how many one of them has at most.
    """

    def __init__(self, values: np.ndarray, counts: np.ndarray):
        self.values = values
        self.most = None if (counts == 1).all() else max(1, int(counts.max()))
        self.ends = None if self.most is None else np.cumsum(counts, dtype=np.int64)

    def __getitem__(self, index: int) -> int | tuple[int, ...]:
        if self.ends is None:
            return int(self.values[index])
        return tuple(self.values[self.ends[index - 1] if index else 0 : self.ends[index]].tolist())


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

    def append(self, words: Sequence[str], file: str, line: int) -> None:
        """Takes the labels of one more example, which come from this line of a file."""
        if len(words) > 1:
            words = list(dict.fromkeys(words))
        for word in words:
            code = self._codes.get(word)
            if code is None:
                code = self._codes[word] = len(self._places)
                self._places.append(f'"{file}", line {line}' if line else f'"{file}"')
            self._values.append(code)
        self._counts.append(len(words))

    def numbered(self) -> tuple[tuple[str, ...], Labels]:
        """Returns the names of the classes and the labels; raises UserError for a label that is none of them."""
        names, numbers = self._classes()
        values = np.asarray(numbers, np.int32)[np.frombuffer(self._values, np.int32)]
        return names, Labels(values, np.frombuffer(self._counts, np.int32))

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
        numbers = list(map(int, words))
        bound = len(names) or MOST_CLASSES
        for number, place in zip(numbers, self._places, strict=True):
            if not 0 <= number < bound:
                what = f"the {bound} classes of {self.origin}" if names else "classes, counted from 0,"
                raise UserError(f"{place}: label {number} is out of range; {what} have the numbers 0 to {bound - 1}")
        return names or tuple(map(str, range(max(numbers) + 1))), numbers
