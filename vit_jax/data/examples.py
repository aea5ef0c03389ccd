"""What a source of images gives, a source held in memory, and a selection from any source."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from vit_jax.errors import UserError


class Example(NamedTuple):
    """One labelled image, not yet decoded.

    `image` is an encoded file (JPEG, PNG, ...) as bytes, or uint8 (height, width) or (height, width, 1 | 3 | 4);
    `label` indexes the source's class names: one of them, or, where a source has `most_labels`, any number up to it;
    `name` tells a person which image it is.
    """

    image: bytes | np.ndarray
    label: int | tuple[int, ...]
    name: str

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels, however many: `label` alone where it is one."""
        return self.label if isinstance(self.label, tuple) else (self.label,)


@runtime_checkable
class Source(Protocol):
    """A finite, random-access collection of examples; `source[i]` is the same example whenever and wherever asked.

    `most_labels` is None where every example has one label, else how many one of them has at most. A source that has
    all labels at hand gives them as `labels`, integers (examples,): see `labels_of`.
    """

    class_names: tuple[str, ...]
    most_labels: int | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


def labels_of(source: Source) -> np.ndarray:
    """Returns the label of every example, int32 (examples,).

    A source that does not have them at hand is read through once. Raises UserError where examples have several.
    """
    if source.most_labels is not None:
        raise UserError("examples have several labels each; what was asked for wants one")
    known = getattr(source, "labels", None)
    if known is None:
        known = [source[index].label for index in range(len(source))]
    return np.asarray(known, np.int32)


def most_labels_of(sources: Iterable[Source]) -> int | None:
    """Returns the `most_labels` of all sources together."""
    most = [source.most_labels for source in sources]
    return None if all(each is None for each in most) else max(each or 1 for each in most)


def padded(labels: Sequence[Sequence[int]], most: int | None) -> np.ndarray:
    """Returns the labels of examples, int32 (examples,) where `most` is None; else (examples, most), filled with -1."""
    rows = np.full((len(labels), most or 1), -1, np.int32)
    for row, several in zip(rows, labels, strict=True):
        row[: len(several)] = several
    return rows[:, 0] if most is None else rows


class Arrays:
    """A source of decoded images that are in memory already.

    `images` is uint8 (examples, height, width[, 1 | 3 | 4]), `labels` integers (examples,), an index into
    `class_names` each; without names a class is called by its number. `title` begins the name of every example.
    Raises UserError where the arrays do not fit together.

    >>> Arrays(np.zeros((2, 8, 8), np.uint8), [0, 1], ["cat", "dog"])[1].label
    1
    """

    most_labels: int | None = None

    def __init__(
        self,
        images: np.ndarray,
        labels: Sequence[int] | np.ndarray,
        class_names: Sequence[str] | None = None,
        title: str = "image",
    ):
        labels = np.asarray(labels)
        if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3, 4))):
            raise UserError(
                f"{title}: images are {images.dtype} {images.shape}; "
                "give uint8 (examples, height, width), with 1, 3 or 4 channels last if any"
            )
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f"{title}: labels are {labels.dtype} {labels.shape}; give one integer for each of {len(images)} images"
            )
        if not len(images):
            raise UserError(f"{title}: there is no image; give at least one")
        if class_names is None:
            class_names = [str(label) for label in range(int(labels.max()) + 1)]
        if labels.min() < 0 or labels.max() >= len(class_names):
            raise UserError(
                f"{title}: labels run from {labels.min()} to {labels.max()}; "
                f"with {len(class_names)} classes they must lie in 0..{len(class_names) - 1}"
            )
        self.images = images
        self.labels = labels
        self.class_names = tuple(str(name) for name in class_names)
        self.title = title

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        return Example(self.images[index], int(self.labels[index]), f"{self.title}[{index}]")


class Selection:
    """The examples of `source` at `indices`, in that order."""

    def __init__(self, source: Source, indices: np.ndarray):
        self.source = source
        self.indices = indices
        self.class_names = source.class_names
        self.most_labels = source.most_labels

    @property
    def labels(self) -> np.ndarray:
        """The label of each, integers (examples,)."""
        return labels_of(self.source)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]


class Concatenation:
    """The examples of `sources`, which have the same classes, one source after the other."""

    def __init__(self, sources: Sequence[Source]):
        self.sources = sources
        self.class_names = sources[0].class_names
        self.most_labels = most_labels_of(sources)

    @property
    def labels(self) -> np.ndarray:
        """The label of each, integers (examples,)."""
        return np.concatenate([labels_of(source) for source in self.sources])

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def __getitem__(self, index: int) -> Example:
        for source in self.sources:
            if index < len(source):
                return source[index]
            index -= len(source)
        raise IndexError("beyond the last example")


class Relabelled:
    """The examples of `source`, their labels counted in `class_names`, which hold all of the source's own."""

    def __init__(self, source: Source, class_names: Sequence[str]):
        self.source = source
        self.class_names = tuple(class_names)
        self.most_labels = source.most_labels
        places = {name: place for place, name in enumerate(self.class_names)}
        self._labels = np.array([places[name] for name in source.class_names])

    @property
    def labels(self) -> np.ndarray:
        """The label of each, integers (examples,)."""
        return self._labels[labels_of(self.source)]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        example = self.source[index]
        if isinstance(example.label, tuple):
            return example._replace(label=tuple(int(self._labels[label]) for label in example.label))
        return example._replace(label=int(self._labels[example.label]))


def with_common_classes(sources: Sequence[Source]) -> list[Source]:
    """Returns the sources with the classes of all of them, by name, in the order in which they first come."""
    names = tuple(dict.fromkeys(name for source in sources for name in source.class_names))
    return [source if source.class_names == names else Relabelled(source, names) for source in sources]
