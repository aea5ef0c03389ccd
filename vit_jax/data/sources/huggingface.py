"""Datasets of Hugging Face, read by their own library: from the Hub, from its cache, or from a folder."""

import importlib
import os
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vit_jax.data import storage
from vit_jax.data.examples import Example, Source
from vit_jax.data.sources.classes import Numbering, said_class_names, words_of
from vit_jax.data.sources.folder import SPLIT_NAMES
from vit_jax.data.sources.packed import Labels
from vit_jax.data.unreadable import UnreadableImageError
from vit_jax.errors import UserError, did_you_mean

SAVED = ("dataset_dict.json", "state.json")  # one of these is where `save_to_disk` has written
CHUNK = 100_000  # rows whose labels are looked at in one go


class Records:
    """The rows of a dataset whose column `image` is not decoded; `labels` are theirs."""

    def __init__(self, records: Any, image: str, labels: Labels, class_names: tuple[str, ...], title: str):
        self.records = records
        self.image = image
        self.class_names = class_names
        self.most_labels = labels.most
        self.labels = labels.single
        self.labels_by_image = labels
        self.title = title

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        if index >= len(self):
            raise IndexError(f"row {index} of {len(self)}")
        name = f"{self.title}[{index}]"
        image = self.records[index][self.image]
        if image is None:
            raise UnreadableImageError(f'"{name}" has no image; take the row out')
        content = storage.read(image["path"]) if image["bytes"] is None else image["bytes"]
        return Example(content, self.labels_by_image[index], name)


def huggingface(
    split: str, path: str, name: str = "", image: str = "image", label: str = "label", class_names: Sequence = ()
) -> Source:
    """A dataset by its name on the Hub, or in a folder: images or Parquet as the Hub has them, or what was saved.

    `path` and `name` are what `datasets.load_dataset` takes, which downloads to a cache of its own (HF_HUB_OFFLINE=1
    forbids the network), or `path` is a folder of `save_to_disk`. `image` and `label` are columns. Where the dataset
    does not name its classes, labels are names or numbers, as in a table; a list is several labels. "val" is also
    what the dataset calls "validation"; a dataset that was saved without splits is "all".

    Raises UserError where the library (the extra [huggingface]) or the data is not there, or is other than expected.
    """
    parts = _opened(path, name)
    chosen = next((part for part in parts if split in (part, SPLIT_NAMES.get(part))), None)
    if chosen is None:
        raise UserError(
            f'"{path}" has no split "{split}", only {", ".join(parts)}; cut one as train[:90%], train[90%:]'
        )
    for column in (image, label):
        if column not in parts[chosen].features:
            known = did_you_mean(column, parts[chosen].features)
            raise UserError(f'"{path}" has no column "{column}"; name it by image= or label=.{known}')
    known, labels = _labels(parts, chosen, label, class_names, path)
    return Records(_encoded(parts[chosen], image, path), image, labels, known, f"{path} {chosen}")


def _opened(path: str, name: str) -> dict[str, Any]:
    """Returns the splits of a dataset."""
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError:
        raise UserError(
            f'"{path}" is read by Hugging Face\'s library "datasets", which is not installed; install the extra '
            "[huggingface]"
        ) from None

    folder = os.path.expanduser(path)
    if path.startswith(("/", "./", "../", "~")) and not os.path.exists(folder):
        raise UserError(f'"{path}" does not exist; give a folder, or the name of a dataset on the Hub')
    try:
        if any(os.path.exists(os.path.join(folder, file)) for file in SAVED):
            if name:
                raise UserError(f'"{path}" was saved as one dataset and has no "{name}"; leave name= out')
            found: Any = datasets.load_from_disk(folder)
        else:
            found = datasets.load_dataset(folder, name or None)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f'cannot read the dataset "{path}": {" ".join(str(error).split())}') from None
    return dict(found) if isinstance(found, dict) else {"all": found}


def _encoded(part: Any, image: str, path: str) -> Any:
    """Returns the column of images alone, each as {"bytes": ..., "path": ...}."""
    kept_encoded = importlib.import_module("datasets").Image(decode=False)
    try:
        return part.select_columns([image]).cast_column(image, kept_encoded)
    except (TypeError, ValueError, NotImplementedError):  # what Arrow raises where there is no such cast
        raise UserError(f'"{image}" of "{path}" is {part.features[image]}; name a column of images by image=') from None


def _labels(
    parts: dict[str, Any], chosen: str, label: str, class_names: Sequence, path: str
) -> tuple[tuple[str, ...], Labels]:
    """Returns the names of the classes and the labels of the part that is chosen."""
    feature = parts[chosen].features[label]
    named = getattr(getattr(feature, "feature", feature), "names", None)
    if named and class_names:
        raise UserError(f'"{path}" names its {len(named)} classes itself; leave class_names out')
    if named:
        several = hasattr(feature, "feature")
        # How many labels an image has at most is to be the same for every split; where each has one, no other is read.
        read = parts if several else {chosen: parts[chosen]}
        return tuple(named), _numbers(read, chosen, label, several, path)

    numbering = Numbering(*said_class_names(class_names))
    start = stop = 0
    for name, part in parts.items():
        start = len(numbering) if name == chosen else start
        for row, said in enumerate(_column(part, label)):
            title = f'"{label}" of "{path} {name}[{row}]"'
            numbering.append(words_of(said, title), title)
        stop = len(numbering) if name == chosen else stop
    known, labels = numbering.numbered()
    return known, labels.part(start, stop)


def _numbers(parts: dict[str, Any], chosen: str, label: str, several: bool, path: str) -> Labels:
    """Returns the labels of the part that is chosen, which the dataset has as numbers of classes."""
    values, counts = array("i"), array("i")
    start = stop = 0
    for name, part in parts.items():
        start = len(counts) if name == chosen else start
        for row, said in enumerate(_column(part, label)):
            numbers = said or () if several else (said,)
            if None in numbers or min(numbers, default=0) < 0:  # -1 is how the Hub's test sets say that nobody knows
                raise UserError(f'"{path} {name}[{row}]" has the label {said}; take such rows out, or another split')
            values.extend(numbers)
            counts.append(len(numbers))
        stop = len(counts) if name == chosen else stop
    return Labels.of(np.array(values, np.int32), np.array(counts, np.int32)).part(start, stop)


def _column(part: Any, column: str) -> Iterator[Any]:
    """Yields the values of a column."""
    only = part.select_columns([column])
    for start in range(0, len(only), CHUNK):
        yield from only[start : start + CHUNK][column]
