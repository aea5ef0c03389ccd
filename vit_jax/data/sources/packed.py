"""What millions of examples are known by, held in a few arrays: their names and their labels."""

from array import array
from dataclasses import dataclass

import numpy as np


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

    def extend(self, others: "Strings") -> None:
        """Puts all of another list at the end."""
        assert isinstance(self.text, bytearray) and isinstance(self.ends, array)
        self.ends.frombytes((np.asarray(others.ends, np.int64) + len(self.text)).tobytes())
        self.text += bytes(others.text)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        end = int(self.ends[index])
        return bytes(self.text[int(self.ends[index - 1]) if index else 0 : end]).decode(errors="surrogateescape")


@dataclass(frozen=True)
class Labels:
    """The labels of many examples: those of example i are `values[ends[i - 1] : ends[i]]`.

    `most` and `ends` are None where each has exactly one; else `most` is how many one of them has at most.
    """

    values: np.ndarray
    ends: np.ndarray | None
    most: int | None

    @classmethod
    def of(cls, values: np.ndarray, counts: np.ndarray) -> "Labels":
        """Returns the labels of examples that have `counts` of them, one after the other in `values`."""
        if (counts == 1).all():
            return cls(values, None, None)
        return cls(values, np.cumsum(counts, dtype=np.int64), max(1, int(counts.max())))

    def part(self, start: int, stop: int) -> "Labels":
        """Returns those of the examples `start` to `stop`; `most` stays that of all."""
        if self.ends is None:
            return Labels(self.values[start:stop], None, None)
        first = int(self.ends[start - 1]) if start else 0
        ends = self.ends[start:stop] - first
        return Labels(self.values[first : first + int(ends[-1])] if len(ends) else self.values[:0], ends, self.most)

    @property
    def single(self) -> np.ndarray | None:
        """The label of each, integers (examples,), where each has one."""
        return self.values if self.most is None else None

    def __getitem__(self, index: int) -> int | tuple[int, ...]:
        if self.ends is None:
            return int(self.values[index])
        return tuple(self.values[self.ends[index - 1] if index else 0 : self.ends[index]].tolist())
