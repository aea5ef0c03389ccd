"""What tfds itself prepared, with a manifest of hashes: as ArrayRecord already, or converted from TFRecord."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from vit_jax.data import storage
from vit_jax.data.prepare import files, manifest, tfds_without_tensorflow, work
from vit_jax.data.prepare.shards import UNFINISHED
from vit_jax.data.prepare.tfrecord import Converted
from vit_jax.data.sources import tfds
from vit_jax.errors import UserError

NAMES = ("file_name", "filename", "id")  # what builders call the name of an image


def convert(source: str, folder: Path, carry: work.Carry) -> tuple[dict[str, Any], bool]:
    """Converts what tfds prepared as TFRecord in `source`, local or gs://, to ArrayRecord in `folder`.

    Returns the manifest, and whether anything had to be made; what an earlier run finished is kept. Raises UserError,
    and leaves a folder that is not finished, where a record is damaged or a file cannot be read or written.
    """
    described = _described(source)
    info = described[manifest.DATASET_INFO]
    terms = {"tfrecord": hashlib.sha256(info).hexdigest(), "source": source}
    with work.alone(folder):
        found = manifest.read(folder)
        work.refuse_foreign(folder, found)
        earlier = found["from"] if found else files.read_json(folder / UNFINISHED / work.PLAN)
        if earlier is not None and earlier.get("tfrecord") != terms["tfrecord"]:
            raise UserError(f'"{folder}" was begun from another dataset; give another --out, or delete that folder')
        if found and manifest.is_whole(folder, found):
            return found, False
        work.begin(folder, terms, found)
        drafts = folder / UNFINISHED / "tfrecord"
        drafts.mkdir(exist_ok=True)
        for name, content in described.items():
            files.write(drafts / name, content)
        builder = opened(str(drafts))
        splits = {split: _converted(folder, source, split, builder.info.splits[split]) for split in builder.info.splits}
        work.make_all(splits, folder, carry)
        for name, content in described.items():
            if name != manifest.DATASET_INFO:
                files.write(folder / name, content)
        files.write_json(folder / manifest.DATASET_INFO, _as_array_record(info))
        return vouch(opened(str(folder)), terms), True


def _described(source: str) -> dict[str, bytes]:
    """Returns the files by which tfds describes a dataset; raises UserError where it is not there as TFRecord."""
    names = [name for name in storage.files_below(source) if name.endswith((".json", ".txt")) and "/" not in name]
    if manifest.DATASET_INFO not in names:
        raise UserError(f'"{source}" has no {manifest.DATASET_INFO}; give the folder that tfds wrote, to its version')
    described = {name: storage.read(storage.join(source, name)) for name in names if name != manifest.NAME}
    try:
        format = json.loads(described[manifest.DATASET_INFO]).get("fileFormat", "tfrecord")
    except ValueError as error:
        raise UserError(f'{manifest.DATASET_INFO} of "{source}" is damaged ({error}); get it anew') from None
    if format != "tfrecord":
        raise UserError(f'"{source}" is {format}; only TFRecord is converted')
    return described


def _converted(folder: Path, source: str, split: str, info: Any) -> Converted:
    names = [path.name for path in info.filename_template.sharded_filepaths(len(info.shard_lengths))]
    return Converted(folder, split, tuple(storage.join(source, name) for name in names), tuple(info.shard_lengths))


def _as_array_record(info: bytes) -> dict[str, Any]:
    """Returns what dataset_info.json says, of the converted files."""
    described = json.loads(info) | {"fileFormat": "array_record"}
    described.pop("alternativeFileFormats", None)
    for split in described["splits"]:
        split["filepathTemplate"] = split.get("filepathTemplate", "").replace(".tfrecord", ".array_record")
    return described


def prepare(name: str, data_dir: str) -> tuple[Path, dict[str, Any], bool]:
    """Prepares a dataset of the catalogue; returns its folder and manifest, and whether anything had to be made.

    Raises UserError where that cannot be done, or what was prepared before is not as it was.
    """
    builder = tfds_without_tensorflow.prepare(name, data_dir)
    folder = Path(str(builder.data_path))
    found = manifest.read(folder)
    if found is None:
        return folder, vouch(builder, {"source": {"kind": "tfds", "name": name}}), True
    if not manifest.is_whole(folder, found):
        raise UserError(f'"{folder}" is not as its {manifest.NAME} says; delete that folder, and prepare it anew')
    return folder, found, False


def vouch(builder: Any, terms: dict[str, Any]) -> dict[str, Any]:
    """Writes and returns the manifest of a folder that tfds has prepared as ArrayRecord, every file of it read.

    Where a record is not an image with one class there are no labels in it, and no keys.
    """
    folder, keys = Path(str(builder.data_path)), keys_of(builder)
    splits: dict[str, Any] = {}
    for split, info in builder.info.splits.items():
        paths = info.filename_template.sharded_filepaths(len(info.shard_lengths))
        shards = [
            files.described(Path(str(path))) | {"examples": length}
            for path, length in zip(paths, info.shard_lengths, strict=True)
        ]
        splits[split] = {"examples": info.num_examples, "shards": shards}
        if keys["label"]:
            path = folder / f"{split}.labels.npy"
            manifest.write_labels(path, _labels(builder, split, keys))
            splits[split]["labels"] = files.described(path)
    classes = list(builder.info.features[keys["label"]].names) if keys["label"] else []
    head = {"name": builder.name, "class_names": classes, "most_labels": None}
    return manifest.write(folder, head | terms, keys, splits)


def _labels(builder: Any, split: str, keys: dict[str, Any]) -> np.ndarray:
    records = tfds.records(builder, split, builder.name, keys["image"])
    try:
        return np.fromiter((record[keys["label"]] for record in records), np.int32, len(records))
    except RuntimeError as error:  # array_record's
        reason = str(error).partition(";")[0]
        raise UserError(f'"{split}" of "{builder.data_path}" cannot be read ({reason}); prepare it anew') from None


def keys_of(builder: Any) -> dict[str, Any]:
    """Returns which keys of a record are the image, its class and its name (None: it has none).

    All are None where a record is not an image with one class.
    """
    import tensorflow_datasets

    features, kinds = dict(builder.info.features.items()), tensorflow_datasets.features
    image, label = (*(builder.info.supervised_keys or ()), "image", "label")[:2]
    if not isinstance(features.get(image), kinds.Image) or not isinstance(features.get(label), kinds.ClassLabel):
        return {"image": None, "label": None, "name": None}
    names = [key for key in NAMES if isinstance(features.get(key), kinds.Text)]
    return {"image": image, "label": label, "name": names[0] if names else None}


def opened(folder: str) -> Any:
    """Returns tfds' builder of a folder; raises UserError where there is no dataset in it."""
    import tensorflow_datasets

    try:
        return tensorflow_datasets.builder_from_directory(folder)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f'"{folder}" is no folder that tfds prepared, with a dataset_info.json ({reason})') from None
