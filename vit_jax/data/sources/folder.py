"""Images in folders, one folder a class."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vit_jax.data.examples import Example, Source
from vit_jax.errors import UserError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class Folder:
    """The image files `files`, relative to `root`; `labels` (examples,) index `class_names`. Read when asked for."""

    most_labels: int | None = None

    def __init__(self, root: Path, files: list[str], labels: np.ndarray, class_names: tuple[str, ...]):
        self.root = root
        self.files = files
        self.labels = labels
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        path = self.root / self.files[index]
        return Example(read(path), int(self.labels[index]), str(path))


class Files:
    """The image files at `paths`; nobody knows their classes."""

    class_names: tuple[str, ...] = ("",)
    most_labels: int | None = None

    def __init__(self, paths: Sequence[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        return Example(read(self.paths[index]), 0, str(self.paths[index]))


def read(path: Path) -> bytes:
    """Returns the file's content; raises UserError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f'cannot read "{path}": {error.strerror}') from None


def folder(split: str, path: str) -> Source:
    """A folder of images: the first folder level is the class, in sorted order; images may lie deeper inside it.

    Hidden files and other files than images are passed over. Two layouts:

    - `path/CLASS/...`: split "val" is one image in ten, chosen by a hash of its path below `path`, so that a new
      image moves no other; "train" is the rest and "all" is everything.
    - `path/train/CLASS/...`, `path/val/CLASS/...` (or `valid`, `validation`), `path/test/CLASS/...`: each folder is a
      split, whole. Where there is no `val`, hold a part out with the slices `train[:90%]` and `train[90%:]`.
      The classes are those of `train` (of the split itself, where there is no `train`).

    Raises UserError where the folders do not follow either.
    """
    root = Path(path).expanduser()
    split_folders = _split_folders(root)
    if split_folders:
        return _split_folder(root, split_folders, split)

    if split not in ("train", "val", "all"):
        raise UserError(
            f'"{path}" has no folder "{split}"; make {split}/CLASS/ beside train/CLASS/, or ask for train, val or all'
        )
    everything = _read(root, "", _class_names(root))
    chosen = [
        i for i, file in enumerate(everything.files) if split in ("all", "val" if _is_held_out(file) else "train")
    ]
    if not chosen:
        raise UserError(f'none of the {len(everything)} images in "{path}" falls into "{split}"; add images')
    files = [everything.files[i] for i in chosen]
    return Folder(root, files, everything.labels[chosen], everything.class_names)


def splits(path: str) -> tuple[str, ...]:
    """Returns the splits that together hold every image of a folder once, train first.

    Raises UserError where there is no folder.
    """
    root = Path(path).expanduser()
    split_folders = _split_folders(root)
    if split_folders:
        return tuple(split for split in ("train", "val", "test") if split in split_folders)
    held_out = {_is_held_out(file) for file in images_below(root)}
    return ("train", "val") if len(held_out) == 2 else ("all",)


def _split_folders(root: Path) -> dict[str, str]:
    """Returns the folder of each split; none where the folders in `root` are classes."""
    if not root.is_dir():
        raise UserError(f'"{root}" {"is a file" if root.exists() else "does not exist"}; give a folder of images')
    found = {SPLIT_NAMES[name.lower()]: name for name in _folders(root) if name.lower() in SPLIT_NAMES}
    whole = _folders(root / found["train"]) if "train" in found else []
    return found if whole or len(found) == len(_folders(root)) else {}


def _split_folder(root: Path, split_folders: dict[str, str], split: str) -> Source:
    """Returns the split that has a folder of its own."""
    if split not in split_folders:
        have = ", ".join(split_folders)
        hold_out = "; hold out a part of train as train[:90%] and train[90%:]" if "train" in split_folders else ""
        raise UserError(f'"{root}" has no split "{split}", only {have}{hold_out}')
    return _read(root, split_folders[split], _class_names(root / split_folders.get("train", split_folders[split])))


def _read(root: Path, below: str, class_names: tuple[str, ...]) -> Folder:
    """Returns all images in the class folders of `root/below`."""
    files: list[str] = []
    labels: list[int] = []
    for name in _class_names(root / below):
        if name not in class_names:
            raise UserError(
                f'"{root / below}" has the class "{name}", which train has not; add it to train or take it out'
            )
        found = images_below(root / below / name)
        if not found:
            raise UserError(f'class folder "{root / below / name}" has no image; add some or remove the folder')
        files += [os.path.join(below, name, file) for file in found]
        labels += [class_names.index(name)] * len(found)
    return Folder(root, files, np.array(labels, np.int32), class_names)


def _class_names(root: Path) -> tuple[str, ...]:
    """Returns the class folders of `root`, sorted; raises UserError where there is none."""
    names = _folders(root)
    if names:
        return tuple(names)
    if images_below(root):
        raise UserError(f'"{root}" has its images side by side; put those of each class in a folder of their own')
    raise UserError(f'"{root}" is empty; put images in it, a folder for each class')


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def images_below(root: Path) -> list[str]:
    """Returns the image files at any depth in `root`, relative to it, sorted."""
    found = []
    for directory, below, names in os.walk(root, followlinks=True):
        below[:] = [name for name in below if not name.startswith(".")]
        inside = os.path.relpath(directory, root)
        images = (name for name in names if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."))
        found += [os.path.normpath(os.path.join(inside, name)) for name in images]
    return sorted(found)


def images_at(path: Path) -> list[Path]:
    """Returns the image at `path`, or all images below it; raises UserError if there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f'"{path}" does not exist; give image files, or folders of them')
    found = [path / file for file in images_below(path)]
    if not found:
        raise UserError(f'there is no image in "{path}"; {", ".join(sorted(SUFFIXES))} are looked for')
    return found


def _is_held_out(file: str) -> bool:
    """Tells whether a file, by its path below the root, belongs to the tenth that is "val"."""
    digest = hashlib.sha256(Path(file).as_posix().encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10 == 0
