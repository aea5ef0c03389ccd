"""What lies in a prepared folder: the manifest with its hashes, the labels, and the files by which tfds opens it."""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vit_jax.data.examples import padded
from vit_jax.data.prepare import files
from vit_jax.data.prepare.plan import Plan, as_terms
from vit_jax.data.prepare.records import KEYS, QUALITY
from vit_jax.data.prepare.shards import UNFINISHED, Shards
from vit_jax.errors import UserError

NAME = "manifest.json"
LAYOUT = 1  # of the manifest; a reader refuses one that it does not know
DATASET_INFO = "dataset_info.json"


def read(folder: Path) -> dict[str, Any] | None:
    """Returns the manifest of a prepared folder, None where there is none: it is not finished.

    Raises UserError for a manifest of another layout.
    """
    found = files.read_json(folder / NAME)
    if found is not None and found.get("layout") != LAYOUT:
        raise UserError(f'"{folder / NAME}" has layout {found.get("layout")}, and {LAYOUT} is what is read here')
    return found


def terms_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the terms of the plan by which a folder was prepared."""
    return {key: manifest[key] for key in ("name", "class_names", "most_labels")} | manifest["from"]


def is_whole(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Tells whether every file is there and unchanged; reads them all."""
    known = [file for split in manifest["splits"].values() for file in split["shards"]]
    known += [split["labels"] for split in manifest["splits"].values() if "labels" in split]
    return (folder / DATASET_INFO).exists() and all(files.is_unchanged(folder, file) for file in known)


def reopen(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Makes a finished folder an unfinished one: its shards get their notes back, and it can be completed again."""
    for split in manifest["splits"].values():
        if "labels" not in split or not files.is_unchanged(folder, split["labels"]):
            continue  # the shards are made anew, to learn which labels are whose
        labels, start = np.load(folder / split["labels"]["file"]), 0
        labels = labels if labels.ndim == 2 else labels[:, None]
        for shard in split["shards"]:
            rows = labels[start : start + shard["examples"]]
            start += shard["examples"]
            note = {**shard, "labels": [row[row >= 0].tolist() for row in rows]}
            files.write_json(folder / UNFINISHED / f"{shard['file']}.json", note)
    (folder / NAME).unlink()
    (folder / DATASET_INFO).unlink(missing_ok=True)


def finish(folder: Path, plan: Plan, splits: Iterable[Shards]) -> dict[str, Any]:
    """Writes what is beside the shards, once all are there, the manifest last; returns the manifest.

    Raises UserError where a split has no example left.
    """
    described, lengths = {}, {}
    for shards in splits:
        notes = [files.read_json(shards.note(number)) for number in range(shards.count)]
        labels = np.concatenate([padded(note.pop("labels"), plan.most_labels) for note in notes])
        if not len(labels):
            raise UserError(f'no image of "{shards.split}" can be read; there is nothing to prepare')
        path = folder / f"{shards.split}.labels.npy"
        write_labels(path, labels)
        described[shards.split] = {"examples": len(labels), "labels": files.described(path), "shards": notes}
        lengths[shards.split] = [(note["examples"], note["bytes"]) for note in notes]
    write_metadata(folder, plan.name, plan.class_names, plan.most_labels, lengths)
    return write(folder, as_terms(plan) | {"jpeg_quality": QUALITY}, KEYS, described)


def write(
    folder: Path, terms: Mapping[str, Any], keys: Mapping[str, str | None], splits: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes and returns the manifest, the last file of all, and clears away what was unfinished."""
    head = {key: terms[key] for key in ("name", "class_names", "most_labels")}
    rest = {key: value for key, value in terms.items() if key not in head}
    manifest = {"layout": LAYOUT, **head, "keys": dict(keys), "splits": dict(splits), "from": rest}
    files.write_json(folder / NAME, manifest)
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    return manifest


def write_labels(path: Path, labels: np.ndarray) -> None:
    """Writes the labels of a split, int32 (examples,) or (examples, most), -1 where an example has fewer."""
    with files.placed(path) as part, files.writing(path), open(part, "wb") as stream:
        np.save(stream, labels)


def write_metadata(
    folder: Path,
    name: str,
    class_names: Iterable[str],
    most_labels: int | None,
    lengths: Mapping[str, list[tuple[int, int]]],
) -> None:
    """Writes tfds' own files, by tfds: dataset_info.json, features.json and the names of the labels.

    `lengths` has (examples, bytes) of every shard of every split.
    """
    import tensorflow_datasets as tfds
    from etils import epath
    from tensorflow_datasets.core.dataset_info import DatasetIdentity
    from tensorflow_datasets.core.splits import SplitDict

    label: Any = tfds.features.ClassLabel(names=list(class_names))
    features = tfds.features.FeaturesDict(
        {
            KEYS["image"]: tfds.features.Image(),
            KEYS["label"]: label if most_labels is None else tfds.features.Sequence(label),
            KEYS["name"]: tfds.features.Text(),
        }
    )
    identity = DatasetIdentity(
        name=name, version=tfds.core.Version("1.0.0"), data_dir=os.fspath(folder), module_name=""
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD)
    template = tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(folder), dataset_name=name, filetype_suffix="array_record"
    )
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[examples for examples, _ in sizes],
            num_bytes=sum(size for _, size in sizes),
            filename_template=template.replace(split=split),
        )
        for split, sizes in lengths.items()
    ]
    info.set_splits(SplitDict(infos))
    drafts = folder / UNFINISHED / "metadata"
    drafts.mkdir(exist_ok=True)
    with files.writing(drafts):
        info.write_to_directory(drafts)
    for draft in sorted(drafts.iterdir(), key=lambda path: path.name == DATASET_INFO):  # by which tfds opens it: last
        files.write(folder / draft.name, draft.read_bytes())
