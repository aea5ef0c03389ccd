"""Images in tars, as WebDataset keeps them: read at any place, by an index that is made once."""

import bisect
import fnmatch
import itertools
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from vit_jax.data import storage
from vit_jax.data.examples import Example, Selection, Source
from vit_jax.data.sources import tar_index
from vit_jax.data.sources.classes import Numbering, said_class_names
from vit_jax.data.sources.folder import SPLIT_NAMES
from vit_jax.data.sources.packed import Labels, Strings
from vit_jax.errors import UserError

THREADS = 16  # that index tars, most of whose time in a bucket is waiting


class Tars:
    """The images that lie at `offsets` of the `tars`, `counts` of them in each. Read when asked for."""

    def __init__(
        self,
        tars: Sequence[str],
        counts: Sequence[int],
        keys: Strings,
        offsets: np.ndarray,
        sizes: np.ndarray,
        labels: Labels,
        class_names: tuple[str, ...],
    ):
        self.tars = tars
        self.ends = list(itertools.accumulate(counts))
        self.keys = keys
        self.offsets = offsets
        self.sizes = sizes
        self.class_names = class_names
        self.most_labels = labels.most
        self.labels = labels.single
        self.labels_by_image = labels

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> Example:
        start = int(self.offsets[index])
        tar = self.tars[bisect.bisect_right(self.ends, index)]
        image = storage.read(tar, start, start + int(self.sizes[index]))
        return Example(image, self.labels_by_image[index], f"{tar}: {self.keys[index]}")


def webdataset(
    split: str, path: str, image: str = "", label: str = "", key: str = "label", class_names: Sequence = ()
) -> Source:
    """Tars of images and labels: files that have their name up to its first dot in common are one example.

    `path` is a folder, all tars in it, or a tar, or a pattern: `train-{000000..000146}.tar`, `{a,b}.tar`, `*.tar`.
    A tar belongs to the split that a word of its own name, or else its folder, says: `train`, `val` (or `valid`,
    `validation`), `test`; "all" is every tar. The examples stand as they do in the tars.

    `image` and `label` are what follows the first dot; "" finds one of `tar_index.IMAGES` and the first that is there
    of `tar_index.LABELS`. A label is the name or number of a class, or several, one on a line; in JSON, the value of
    `key`, which may be a list. What they mean is as in a table, `classes.txt` and `class_names` included.

    Each tar is gone through once, and what was found kept as `NAME.tar.index.npz` beside it, or in the cache where one
    cannot write there. It counts as long as the tar has the same size and (on a disk) the same time of change.

    Raises UserError for tars that are packed, damaged, cut short or hold links, and for an example that lacks its image
    or label.
    """
    tars, folder = _tars(os.path.expanduser(path))
    splits = {tar: _split_of(tar) for tar in tars}
    if split != "all" and split not in splits.values():
        named = ", ".join([*dict.fromkeys(name for name in splits.values() if name), "all"])
        raise UserError(f'"{path}" has no tar of the split "{split}", only {named}; put the word into their names')
    with ThreadPoolExecutor(THREADS) as pool:
        indexes = list(pool.map(partial(tar_index.index_of, wanted=tar_index.Wanted(image, label, key)), tars))
    numbering = Numbering(*said_class_names(class_names, storage.join(folder, "classes.txt")))
    keys = Strings()
    for tar, index in zip(tars, indexes, strict=True):
        keys.extend(index.keys)
        words = [index.words[number] for number in range(len(index.words))]
        numbering.extend(words, index.codes, index.counts, partial(_place, tar, index))
    known, labels = numbering.numbered()
    offsets, sizes = (np.concatenate([getattr(index, name) for index in indexes]) for name in ("offsets", "sizes"))
    whole = Tars(tars, list(map(len, indexes)), keys, offsets, sizes, labels, known)
    if split == "all":
        return whole
    chosen = [splits[tar] == split for tar in tars]
    return Selection(whole, np.flatnonzero(np.repeat(chosen, list(map(len, indexes)))))


def _place(tar: str, index: tar_index.Index, word: int) -> str:
    """Returns where a label comes from, for people."""
    return f'"{index.first_with(word)}" in "{tar}"'


def _tars(path: str) -> tuple[list[str], str]:
    """Returns the tars that a path means, and the folder that all lie in."""
    if storage.is_folder(path):
        found = [file for file in storage.files_below(path) if re.search(r"\.(tar|tgz|tar\.\w+)$", file)]
        if not found:
            raise UserError(f'there is no tar in "{path}"; give a folder of tars, or a pattern as train-*.tar')
        return [storage.join(path, file) for file in found], path
    if not re.search(r"[{*?\[]", path):
        return [path], os.path.dirname(path)
    folder = os.path.dirname(re.split(r"[{*?\[]", path)[0])
    found = []
    for pattern in expanded(path):
        if re.search(r"[*?\[]", pattern):
            within = os.path.relpath(pattern, folder or ".") if "://" not in pattern else pattern[len(folder) + 1 :]
            files = fnmatch.filter(storage.files_below(folder or "."), within)
            if not files:
                raise UserError(f'there is no tar "{pattern}"; give a folder of tars, or a pattern as train-*.tar')
            found += [storage.join(folder, file) for file in files]
        else:
            found.append(pattern)
    return found, folder


def expanded(pattern: str) -> list[str]:
    """Returns what a pattern means with its braces written out, as a shell does it.

    >>> expanded("{train,val}-{08..10}.tar")[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar']
    """
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        step = 1 if first <= last else -1
        width = (
            max(len(each) for each in numbers.groups()) if any(re.match("0.", each) for each in numbers.groups()) else 0
        )
        words = [f"{number:0{width}}" for number in range(first, last + step, step)]
    else:
        words = found[1].split(",")
    before, after = pattern[: found.start()], pattern[found.end() :]
    return list(itertools.chain.from_iterable(expanded(before + word + after) for word in words))


def _split_of(tar: str) -> str:
    """Returns the split that a tar's name says, or its folder's; "" if neither does."""
    folder, name = os.path.split(tar)
    words = re.findall("[a-z]+", name.lower()) + [os.path.basename(folder).lower()]
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")
