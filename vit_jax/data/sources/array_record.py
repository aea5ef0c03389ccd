"""ArrayRecord shards of tf.train.Example, as `data prepare` and tfds write them, in a folder or a bucket."""

import fnmatch
import io
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vit_jax.data import storage
from vit_jax.data.examples import Example, Source
from vit_jax.data.sources import tf_example
from vit_jax.data.sources.array_record_file import Readers, counts_of, within_deadline
from vit_jax.errors import UserError, did_you_mean

SHARD = re.compile(r"(?:(?P<name>.+)-)?(?P<split>\w+)\.array_?record(?:-(?P<number>\d+)-of-(?P<count>\d+))?")


def array_record(
    split: str,
    path: str,
    image: str = "",
    label: str = "",
    name: str = "",
    class_names: Sequence = (),
    most_labels: int = 0,
) -> Source:
    """Shards of examples that hold an encoded image and its label, or labels: `NAME-SPLIT.array_record-00000-of-00010`.

    `path` is a folder, or a pattern for files in one (`gs://bucket/data/birds-*`). `image`, `label` and `name` are the
    keys in a record, "" for those of the manifest.json that `data prepare` left beside the shards, and without one for
    "image", "label" and no name. Class names come from there too, from tfds' `label.labels.txt`, or from `class_names`.
    With `most_labels` an example has up to so many labels, and one without any is fine.

    Raises UserError where shards are missing or damaged, or hold another number of examples than is written of them.
    """
    folder, pattern = (path, "*") if not re.search(r"[*?\[]", path) else _parted(path)
    names = [file for file in storage.files_below(folder) if fnmatch.fnmatchcase(file, pattern)]
    shards = _shards_of(split, names, path)
    manifest = _read_json(folder, "manifest.json")
    keys = manifest.get("keys", {})
    label = label or keys.get("label") or "label"
    counts = counts_of([storage.join(folder, shard) for shard in shards])
    for shard, promised in _promised(folder, split, shards, manifest).items():
        if shard not in shards:
            raise UserError(f'"{storage.join(folder, shard)}" is missing; copy it there')
        if counts[shards.index(shard)] != promised:
            found = f'"{storage.join(folder, shard)}" has {counts[shards.index(shard)]} examples'
            raise UserError(f"{found}, and {promised} are written of it; copy it again")
    if not sum(counts):
        raise UserError(f'the shards of "{split}" in "{path}" have no example; prepare them again')
    return Shards(
        folder,
        shards,
        counts,
        class_names=tuple(map(str, class_names)) or _class_names(folder, label, manifest),
        most_labels=most_labels or manifest.get("most_labels"),
        keys=(image or keys.get("image") or "image", label, name or keys.get("name") or ""),
        title=f"{posixpath.basename(folder.rstrip('/'))} {split}",
        labels_file=manifest.get("splits", {}).get(split, {}).get("labels", {}).get("file", ""),
    )


class Shards:
    """The records of `shards` in `folder`, one shard after the other; opened when first asked for.

    `keys` are those of the image, the label and the name ("": there is none); `labels_file` has all labels, if any.
    """

    def __init__(
        self,
        folder: str,
        shards: Sequence[str],
        counts: Sequence[int],
        class_names: tuple[str, ...],
        most_labels: int | None,
        keys: tuple[str, str, str],
        title: str,
        labels_file: str = "",
    ):
        self.folder = folder
        self.shards = shards
        self.ends = np.cumsum(counts)
        self.class_names = class_names
        self.most_labels = most_labels
        self.keys = keys
        self.title = title
        self.labels_file = labels_file
        self._readers = Readers()

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        shard = int(np.searchsorted(self.ends, index, side="right"))
        place = index - (int(self.ends[shard - 1]) if shard else 0)
        path = storage.join(self.folder, self.shards[shard])
        record = within_deadline(lambda: self._readers[path].read([place])[0], path, f"record {place} of ")
        try:
            return self._example(record, index)
        except UserError as error:
            raise UserError(f'record {place} of "{path}" {error}') from None

    @property
    def labels(self) -> np.ndarray:
        """The label of every example, int32 (examples,), from the file that `data prepare` left beside the shards."""
        if not self.labels_file or self.most_labels is not None:
            raise AttributeError("the labels are not at hand")  # labels_of reads them one by one
        path = storage.join(self.folder, self.labels_file)
        labels = np.load(io.BytesIO(storage.read(path)), allow_pickle=False)
        if labels.shape != (len(self),):
            raise UserError(f'"{path}" has labels of shape {labels.shape}, and there are {len(self)} examples')
        return labels

    def _example(self, record: bytes, index: int) -> Example:
        image_key, label_key, name_key = self.keys
        features = tf_example.parse(record)
        images = tf_example.values(features, image_key, "bytes_list")
        labels = tuple(tf_example.values(features, label_key, "int64_list"))
        if len(images) != 1:
            raise UserError(f'has {len(images)} images at "{image_key}"; one is wanted')
        if labels and not 0 <= min(labels) <= max(labels) < len(self.class_names):
            raise UserError(f"has the label {labels}; there are {len(self.class_names)} classes, counted from 0")
        if len(labels) > (self.most_labels or 1) or (self.most_labels is None and not labels):
            raise UserError(f'has {len(labels)} labels at "{label_key}"; {self._wanted_labels()}')
        names = tf_example.values(features, name_key, "bytes_list") if name_key else ()
        name = names[0].decode(errors="replace") if names else f"{self.title}[{index}]"
        return Example(images[0], labels[0] if self.most_labels is None else labels, name)

    def _wanted_labels(self) -> str:
        return "one is wanted; or set most_labels" if self.most_labels is None else f"up to {self.most_labels} are"


def _parted(path: str) -> tuple[str, str]:
    folder, slash, pattern = path.rpartition("/")
    if re.search(r"[*?\[]", folder):
        raise UserError(f'"{path}" has a pattern in the name of a folder; only those of files may have one')
    return folder + slash if slash else ".", pattern


def _shards_of(split: str, names: Sequence[str], path: str) -> list[str]:
    """Returns the names of all shards of a split, in order; raises UserError where any is missing."""
    found = [(match, name) for name in names if "/" not in name and (match := SHARD.fullmatch(name))]
    if not found:
        raise UserError(f'"{path}" has no file such as NAME-train.array_record-00000-of-00010; check the path')
    splits = sorted({match["split"] for match, _ in found})
    found = [(match, name) for match, name in found if match["split"] == split]
    if not found:
        raise UserError(f'"{path}" has no split "{split}".{did_you_mean(split, splits)}')
    series = {(match["name"], match["count"]) for match, _ in found}
    if len(series) > 1:
        listed = ", ".join(sorted(f"{name}-{split} in {count or 1}" for name, count in series))
        raise UserError(f'"{path}" has shards of {listed}; choose by a pattern, such as "{path.rstrip("/")}/NAME-*"')
    count = int(found[0][0]["count"] or 1)
    missing = sorted(set(range(count)) - {int(match["number"] or 0) for match, _ in found})
    if missing:
        raise UserError(f'"{path}" lacks {len(missing)} of {count} shards of {split}, the first is number {missing[0]}')
    return sorted(name for _, name in found)


def _promised(folder: str, split: str, shards: Sequence[str], manifest: Mapping[str, Any]) -> dict[str, int]:
    """Returns how many examples each shard has by the manifest, or by what tfds wrote beside it."""
    if manifest:
        if split not in manifest["splits"]:
            raise UserError(
                f'"{folder}/manifest.json" has no split "{split}".{did_you_mean(split, manifest["splits"])}'
            )
        return {shard["file"]: shard["examples"] for shard in manifest["splits"][split]["shards"]}
    for info in _read_json(folder, "dataset_info.json").get("splits", ()):
        if info.get("name") == split and len(info.get("shardLengths", ())) == len(shards):
            return dict(zip(shards, map(int, info["shardLengths"]), strict=True))
    return {}


def _class_names(folder: str, label: str, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    if manifest:
        return tuple(manifest["class_names"])
    path = storage.join(folder, f"{label}.labels.txt")
    if storage.is_file(path):
        return tuple(storage.read(path).decode().splitlines())
    raise UserError(f'"{folder}" has neither manifest.json nor {label}.labels.txt; give class_names')


def _read_json(folder: str, name: str) -> dict[str, Any]:
    """Returns what is in a JSON file, nothing where there is none."""
    path = storage.join(folder, name)
    if not storage.is_file(path):
        return {}
    try:
        found = json.loads(storage.read(path))
    except ValueError as error:
        raise UserError(f'"{path}" is no JSON ({error}); copy it again') from None
    if name == "manifest.json" and found.get("layout") != 1:
        raise UserError(f'"{path}" is of layout {found.get("layout")!r}, and 1 is known; prepare the shards again')
    return found
