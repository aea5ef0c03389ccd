"""What millions of examples are known by, held in a few arrays: their names and their labels."""

from array import array

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
