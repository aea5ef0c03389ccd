"""Images named by a table: a CSV, TSV or JSONL file of paths and labels."""

import csv
import io
import json
import os
import posixpath
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vit_jax.data import storage
from vit_jax.data.examples import Example, Selection, Source
from vit_jax.data.sources.classes import Numbering, said_class_names, words_of
from vit_jax.data.sources.folder import SPLIT_NAMES
from vit_jax.data.sources.packed import Labels, Strings
from vit_jax.errors import UserError, did_you_mean

IMAGE = ("image", "path", "file_name", "filename")  # what a column is called, where no other name is given
LABEL = ("label", "class", "labels")
SPLIT = "split"

Line: TypeAlias = tuple[int, str, Sequence[str], str]  # its number in the file, the image's path, its labels, its split


class Table:
    """The image files at `paths`, which begin at `root` unless they are absolute. Read when asked for."""

    def __init__(self, root: str, paths: Strings, labels: Labels, class_names: tuple[str, ...]):
        self.root = root
        self.paths = paths
        self.class_names = class_names
        self.most_labels = labels.most
        self.labels = labels.single
        self.labels_by_image = labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        path = joined(self.root, self.paths[index])
        return Example(storage.read(path), self.labels_by_image[index], path)


def table(
    split: str,
    path: str,
    image: str = "",
    label: str = "",
    root: str = "",
    separator: str = "|",
    class_names: Sequence = (),
) -> Source:
    """A table of image paths and labels, `.csv`, `.tsv` or `.jsonl`, or a folder with one for each split.

    - A file: the split "all" and, where it has a column `split`, those named there.
    - A folder: `train.csv`, `val.csv` (or `valid`, `validation`), `test.csv`; or `train/metadata.csv`, ...; or
      `metadata.csv` alone, which is read as a file is. So Hugging Face's "imagefolder" is read as it stands. "all" is
      every split.

    `image` and `label` are the columns (in JSONL the keys) of an image's path and label; "" finds the first that is
    there of `IMAGE` and `LABEL`. `root` is where paths begin; "" is the folder of their table. Several labels of an
    image stand in one cell with `separator` between them ("" for none), in JSONL in a list; an empty cell is no label.
    If any image of any split has several or none, labels come as tuples.

    Labels that are whole numbers, all of them, count the classes from 0, which `class_names` may name; else they are
    the names. The classes are `class_names`, else the lines of a `classes.txt` beside the table, else all labels of
    all splits, sorted.

    Raises UserError, which names file and line, for what cannot be read.
    """
    path = os.path.expanduser(path)
    folder = path if storage.is_folder(path) else os.path.dirname(path)
    tables = _tables(path, folder)
    numbering = Numbering(*said_class_names(class_names, joined(folder, "classes.txt")))
    paths, splits, split_names = Strings(), array("i"), dict[str, int]()
    for own_split, file in tables:
        below = "" if root else os.path.dirname(file)
        for number, image_path, labels, its_split in Columns(image, label, separator).lines(joined(folder, file)):
            try:
                paths.append(joined(below, image_path) if below else image_path)
            except UnicodeEncodeError:
                raise _mistake(joined(folder, file), number, f"{image_path!r} is no path; write UTF-8") from None
            numbering.append(labels, f'"{file}", line {number}')
            splits.append(split_names.setdefault(own_split or its_split, len(split_names)))
    if not len(paths):
        raise UserError(f'"{path}" names no image; write a line for each below the names of the columns')
    known, labels = numbering.numbered()
    whole = Table(os.path.expanduser(root or folder), paths, labels, known)
    if split in split_names:
        return Selection(whole, np.flatnonzero(np.frombuffer(splits, np.int32) == split_names[split]))
    if split != "all":
        named = ", ".join(name for name in (*split_names, "all") if name)
        raise UserError(f'"{path}" has no split "{split}", only {named}; cut one as all[:90%] and all[90%:]')
    return whole


def joined(folder: str, path: str) -> str:
    """Returns where `path` lies, seen from `folder`, unless it is absolute.

    >>> joined("gs://bucket/data", "a.jpg"), joined("/data", "gs://bucket/a.jpg")
    ('gs://bucket/data/a.jpg', 'gs://bucket/a.jpg')
    >>> joined("gs://bucket/tables", "../images/a.jpg")  # a bucket knows no ".."
    'gs://bucket/images/a.jpg'
    """
    if "://" in path:
        return path
    whole = os.path.join(folder, path)
    kind, separator, inside = whole.partition("://")
    return kind + separator + posixpath.normpath(inside) if separator and "/../" in inside else whole


def _tables(path: str, folder: str) -> list[tuple[str, str]]:
    """Returns the split, "" where the file itself may say it, and the path in `folder` of every table."""
    if path != folder:
        if os.path.splitext(path)[1].lower() not in READERS:
            raise UserError(f'"{path}" is no table; give a file that ends in {", ".join(READERS)}, or a folder')
        return [("", os.path.basename(path))]
    stems = {"metadata": ""} | {
        f"{name}{end}": split for name, split in SPLIT_NAMES.items() for end in ("", "/metadata")
    }
    found = [(split, stem + ending) for stem, split in stems.items() for ending in READERS]
    found = [(split, file) for split, file in found if storage.is_file(joined(folder, file))]
    if not found:
        raise UserError(
            f'"{path}" has no table; make train.csv and val.csv in it, or metadata.csv, or name the file itself'
        )
    splits = [split for split, _ in found]
    if len(set(splits)) < len(splits) or ("" in splits and len(splits) > 1):
        files = ", ".join(file for _, file in found)
        raise UserError(f'"{path}" has {files}; keep one for each split, or name one of them')
    return found


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are called, "" for the usual names, and what separates labels."""

    image: str
    label: str
    separator: str

    def lines(self, file: str) -> Iterator[Line]:
        """Yields the lines of a table; raises UserError at a mistake."""
        try:
            yield from READERS[os.path.splitext(file)[1].lower()](self, file)
        except UnicodeDecodeError:
            whole = storage.read(file)
            try:
                whole.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise _mistake(file, whole[: error.start].count(b"\n") + 1, "is not UTF-8; save it as UTF-8") from None

    def csv(self, file: str) -> Iterator[Line]:
        """Yields the lines of a file of commas."""
        return self._separated(file, ",")

    def tsv(self, file: str) -> Iterator[Line]:
        """Yields the lines of a file of tabs."""
        return self._separated(file, "\t")

    def _separated(self, file: str, delimiter: str) -> Iterator[Line]:
        reader = csv.reader(_text(file), delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            header = [cell.strip() for cell in next((row for row in reader if any(row)), [])]
            image, label = self._found(header, file, reader.line_num)
            split = header.index(SPLIT) if SPLIT in header else None
            image, label = header.index(image), header.index(label)
            for row in reader:
                if not any(row):
                    continue
                if len(row) != len(header):
                    what = f"{len(row)} cells, and the columns are {len(header)}: {', '.join(header)}"
                    raise _mistake(file, reader.line_num, f"{what}; put what holds a separator in quotes")
                if not row[image] or "\0" in row[image]:
                    raise _mistake(
                        file, reader.line_num, f"{row[image]!r} is no path of an image; write one, or no line"
                    )
                words = row[label].split(self.separator) if self.separator else [row[label]]
                labels = [word.strip() for word in words if word.strip()]
                yield reader.line_num, row[image], labels, _split_name(row[split]) if split is not None else ""
        except csv.Error as error:
            raise _mistake(file, reader.line_num, f"{error}; mend its quotes") from None

    def jsonl(self, file: str) -> Iterator[Line]:
        """Yields the lines of a file of JSON objects."""
        image = label = ""
        for number, line in enumerate(_text(file), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _mistake(file, number, f"no JSON ({error}); write one object on a line") from None
            if not isinstance(row, dict):
                raise _mistake(
                    file, number, f'{line.strip()[:80]!r} is no object; write {{"image": ..., "label": ...}}'
                )
            if not image:
                image, label = self._found(list(row), file, number)
            path, split = row.get(image), row.get(SPLIT, "")
            if not isinstance(path, str) or not path or "\0" in path:
                raise _mistake(file, number, f'"{image}" is {path!r}; give the path of an image')
            if label not in row:
                raise _mistake(file, number, f'there is no "{label}"; write null where an image has no label')
            words = words_of(row[label], f'"{file}", line {number}: "{label}"')
            yield number, path, words, _split_name(str(split))

    def _found(self, header: Sequence[str], file: str, number: int) -> tuple[str, str]:
        """Returns the columns of the image and of the label."""
        found = []
        for given, usual, what in ((self.image, IMAGE, "image"), (self.label, LABEL, "label")):
            name = next((name for name in ((given,) if given else usual) if name in header), None)
            if name is None:
                wanted = f'no column "{given}".{did_you_mean(given, header)}' if given else (
                    f"none of the columns {', '.join(header) or '(there are none)'} is {' or '.join(usual)}; "
                    f"begin with a line of their names, or say which by {what}="
                )  # fmt: skip
                raise _mistake(file, number or 1, wanted)
            found.append(name)
        return found[0], found[1]


def _split_name(word: str) -> str:
    return SPLIT_NAMES.get(word.lower(), word)


def _text(file: str) -> io.TextIOWrapper:
    """Returns the text of a file, its line ends as they are."""
    return io.TextIOWrapper(io.BytesIO(storage.read(file)), "utf-8-sig", newline="")


def _mistake(file: str, line: int, what: str) -> UserError:
    return UserError(f'"{file}", line {line}: {what}')


READERS: dict[str, Callable[[Columns, str], Iterator[Line]]] = {
    ".csv": Columns.csv,
    ".tsv": Columns.tsv,
    ".jsonl": Columns.jsonl,
}
