"""Images in folders, one folder a class."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from vit_jax.data import storage
from vit_jax.data.examples import Example, Source
from vit_jax.data.sources.packed import Strings
from vit_jax.errors import UserError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class Folder:
    """The image files `files`, relative to `root`; `labels` (examples,) index `class_names`. Read when asked for."""

    most_labels: int | None = None

    def __init__(self, root: str, files: Strings, labels: np.ndarray, class_names: tuple[str, ...]):
        self.root = root
        self.files = files
        self.labels = labels
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        path = storage.join(self.root, self.files[index])
        return Example(storage.read(path), int(self.labels[index]), path)


class Files:
    """The image files at `paths`; nobody knows their classes."""

    class_names: tuple[str, ...] = ("",)
    most_labels: int | None = None

    def __init__(self, paths: Sequence[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        path = str(self.paths[index])
        return Example(storage.read(path), 0, path)


def folder(split: str, path: str, empty_classes: bool = False) -> Source:
    """A folder of images: the first folder level is the class, in sorted order; images may lie deeper inside it.

    It may be in a bucket (gs://). Hidden files and other files than images are passed over. Two layouts:

    - `path/CLASS/...`: split "val" is one image in ten, chosen by a hash of its path below `path`, so that a new
      image moves no other; "train" is the rest and "all" is everything.
    - `path/train/CLASS/...`, `path/val/CLASS/...` (or `valid`, `validation`), `path/test/CLASS/...`: each folder is a
      split, whole. Where there is no `val`, hold a part out with the slices `train[:90%]` and `train[90%:]`.
      The classes are those of `train` (of the split itself, where there is no `train`).

    A class folder without an image is a mistake, unless `empty_classes` says that it is none.

    Raises UserError where the folders do not follow either.
    """
    root = path.rstrip("/") if storage.is_remote(path) else str(Path(path).expanduser())
    split_folders = _split_folders(root)
    if split_folders:
        return _split_folder(root, split_folders, split, empty_classes)

    if split not in ("train", "val", "all"):
        raise UserError(
            f'"{path}" has no folder "{split}"; make {split}/CLASS/ beside train/CLASS/, or ask for train, val or all'
        )
    everything = _read(root, "", _class_names(root), empty_classes)
    chosen, files = [], Strings()
    for i in range(len(everything)):
        file = everything.files[i]
        if split in ("all", "val" if _is_held_out(file) else "train"):
            chosen.append(i)
            files.append(os.fsencode(file))
    if not chosen:
        raise UserError(f'none of the {len(everything)} images in "{path}" falls into "{split}"; add images')
    return Folder(root, files, everything.labels[chosen], everything.class_names)


def splits(path: str) -> tuple[str, ...]:
    """Returns the splits that together hold every image of a folder once, train first.

    Raises UserError where there is no folder.
    """
    split_folders = _split_folders(path)
    if split_folders:
        return tuple(split for split in ("train", "val", "test") if split in split_folders)
    held_out = {_is_held_out(file) for file in images_below(path)}
    return ("train", "val") if len(held_out) == 2 else ("all",)


def _split_folders(root: str) -> dict[str, str]:
    """Returns the folder of each split; none where the folders in `root` are classes.

    Raises UserError where there is no folder, or a split has two, one of which would be passed over.
    """
    if not storage.is_folder(root):
        what = "is a file" if storage.is_file(root) else "does not exist"
        raise UserError(f'"{root}" {what}; give a folder of images')
    folders = storage.folders_in(root)
    named = [name for name in folders if name.lower() in SPLIT_NAMES]
    found = {SPLIT_NAMES[name.lower()]: name for name in named}
    whole = storage.folders_in(storage.join(root, found["train"])) if "train" in found else []
    if not whole and len(named) < len(folders):
        return {}
    if len(found) < len(named):
        raise UserError(f'"{root}" has {", ".join(named)}; keep one folder for each split')
    return found


def _split_folder(root: str, split_folders: dict[str, str], split: str, empty_classes: bool) -> Source:
    """Returns the split that has a folder of its own."""
    if split not in split_folders:
        have = ", ".join(split_folders)
        hold_out = "; hold out a part of train as train[:90%] and train[90%:]" if "train" in split_folders else ""
        raise UserError(f'"{root}" has no split "{split}", only {have}{hold_out}')
    classes = _class_names(storage.join(root, split_folders.get("train", split_folders[split])))
    return _read(root, split_folders[split], classes, empty_classes)


def _read(root: str, below: str, class_names: tuple[str, ...], empty_classes: bool) -> Folder:
    """Returns all images in the class folders of `root/below`."""
    place = storage.join(root, below) if below else root
    names = _class_names(place)
    numbers = {name: number for number, name in enumerate(class_names)}
    for name in names:
        if name not in numbers:
            raise UserError(f'"{place}" has the class "{name}", which train has not; add it to train or take it out')
    files, counts = Strings(), []
    with ThreadPoolExecutor(16) as pool:  # a bucket lists a thousand names at a time
        for name, found in zip(names, pool.map(lambda name: _packed(place, below, name), names), strict=True):
            if not len(found) and not empty_classes:
                raise UserError(f'class folder "{storage.join(place, name)}" has no image; add some or remove it')
            files.extend(found)
            counts.append(len(found))
    labels = np.repeat(np.array([numbers[name] for name in names], np.int32), counts)
    return Folder(root, files, labels, class_names)


def _packed(place: str, below: str, name: str) -> Strings:
    """Returns the images of a class, each beginning with `below/`."""
    found = Strings()
    inside = os.fsencode(f"{below}/{name}/" if below else f"{name}/")
    for file in images_below(storage.join(place, name)):
        found.append(inside + os.fsencode(file))
    return found


def _class_names(root: str) -> tuple[str, ...]:
    """Returns the class folders of `root`, sorted; raises UserError where there is none."""
    names = storage.folders_in(root)
    if names:
        return tuple(names)
    if images_below(root):
        raise UserError(f'"{root}" has its images side by side; put those of each class in a folder of their own')
    raise UserError(f'"{root}" is empty; put images in it, a folder for each class')


def images_below(root: str) -> list[str]:
    """Returns the image files at any depth in `root`, relative to it, sorted."""
    return sorted(file for file in storage.walk(root) if os.path.splitext(file)[1].lower() in SUFFIXES)


def images_at(path: Path) -> list[Path]:
    """Returns the image at `path`, or all images below it; raises UserError if there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f'"{path}" does not exist; give image files, or folders of them')
    found = [path / file for file in images_below(str(path))]
    if not found:
        raise UserError(f'there is no image in "{path}"; {", ".join(sorted(SUFFIXES))} are looked for')
    return found


def _is_held_out(file: str) -> bool:
    """Tells whether a file, by its path below the root, belongs to the tenth that is "val"."""
    digest = hashlib.sha256(os.fsencode(file)).digest()
    return int.from_bytes(digest[:8], "big") % 10 == 0
