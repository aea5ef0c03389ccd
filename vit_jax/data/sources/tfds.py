"""Datasets prepared by TensorFlow Datasets, read without TensorFlow."""

import importlib.util
import operator
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from vit_jax.data import storage
from vit_jax.data.examples import Example, Source
from vit_jax.data.sources.array_record_file import within_deadline
from vit_jax.errors import UserError, did_you_mean

Record: TypeAlias = Mapping[str, Any]


class Prepared:
    """Gives the records of a tfds data source as examples: what `image` and `label` make of each.

    `place` is where the records lie; from a bucket each must come within the deadline.
    """

    most_labels: int | None = None

    def __init__(
        self,
        records: Any,
        class_names: Sequence[str],
        image: Callable[[Record], bytes | np.ndarray],
        label: Callable[[Record], int],
        title: str,
        place: str,
    ):
        self.records = records
        self.class_names = tuple(class_names)
        self.image = image
        self.label = label
        self.title = title
        self.place = place

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        if index >= len(self):  # tfds raises ValueError, which does not end a loop
            raise IndexError(f"record {index} of {len(self)}")
        record = within_deadline(lambda: self.records[index], self.place, f"record {index} of {self.title} in ")
        return Example(self.image(record), int(self.label(record)), f"{self.title}[{index}]")


def tfds(split: str, name: str, data_dir: str = "", image: str = "image", label: str = "label") -> Source:
    """A dataset of the TensorFlow Datasets catalogue, or one of your own, prepared as ArrayRecord in `data_dir`.

    `name` may carry a version ("cifar10:3.0.2"); `data_dir` "" is tfds' own default, and may be the very folder that
    has the dataset's dataset_info.json; `image` and `label` are the keys of the image and of its class in a record.
    Slices of a split are tfds' own, in the order of the files.
    Raises UserError where the data is not prepared, is prepared in a format without random access, or lacks the split
    or a key.
    """
    builder = opened(name, data_dir)
    class_names = class_names_of(builder, name, label)
    found = records(builder, split, name, image)
    image_of, label_of = operator.itemgetter(image), operator.itemgetter(label)  # which go to a worker process too
    return Prepared(found, class_names, image_of, label_of, f"{name} {split}", str(builder.data_path))


def opened(name: str, data_dir: str) -> Any:
    """Returns tfds' builder of a prepared dataset; raises UserError where there is none, or not in that version."""
    import tensorflow_datasets
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    if data_dir and storage.is_remote(data_dir):
        _check_bucket(data_dir)
    if data_dir and storage.is_file(storage.join(data_dir, "dataset_info.json")):
        return tensorflow_datasets.builder_from_directory(data_dir)
    try:
        builder: Any = tensorflow_datasets.builder(name, data_dir=data_dir or None)
    except DatasetNotFoundError:
        place = data_dir or "its own folder"
        raise UserError(f'tfds knows no dataset "{name}", and none is prepared in {place}; check both') from None
    except ValueError as error:
        said = str(error).splitlines()[0]
        raise UserError(f'tfds cannot read "{name}" ({said}); write it as cifar10 or cifar10:3.*.*') from None
    except AssertionError as error:  # a version that is neither prepared nor in tfds
        raise UserError(str(error).splitlines()[0].split('}": ')[-1]) from None
    if not (builder.data_path / "dataset_info.json").exists():
        place = f" --data-dir={shlex.quote(data_dir)}" if data_dir else ""
        raise UserError(
            f'there is no "{builder.data_path}"; prepare it: ./run.sh data prepare --tfds={shlex.quote(name)}{place}'
        )
    return builder


def _check_bucket(data_dir: str) -> None:
    """Raises UserError where tfds, which reads what it wrote beside the shards by gcsfs, cannot."""
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(
            f'tfds reads "{data_dir}" by gcsfs; install the extra [gcs], or give the folder of the shards as the path '
            'of kind "array_record", which reads them without'
        )
    if not storage.is_folder(data_dir):
        raise UserError(f'"{data_dir}" does not exist; give a folder with data that tfds prepared')


def class_names_of(builder: Any, name: str, label: str) -> tuple[str, ...]:
    """Returns the classes that the key `label` tells apart; raises UserError if it is none of a class."""
    import tensorflow_datasets

    feature = _feature(builder, name, label)
    if not isinstance(feature, tensorflow_datasets.features.ClassLabel):
        raise UserError(f'"{label}" of "{name}" is {feature}; name the key of a single class label')
    return tuple(feature.names)


def records(builder: Any, split: str, name: str, image: str) -> Any:
    """Returns the records of a split, their images still encoded, by random access.

    Raises:
      UserError: no such split or key, or a format without random access.
    """
    import tensorflow_datasets

    _feature(builder, name, image)
    try:
        return builder.as_data_source(split=split, decoders={image: tensorflow_datasets.decode.SkipDecoding()})
    except NotImplementedError:
        raise UserError(_no_random_access(builder, name)) from None
    except ValueError as error:
        raise UserError(f'cannot read split "{split}" of "{name}": {str(error).splitlines()[0]}') from None


def _feature(builder: Any, name: str, key: str) -> Any:
    features = builder.info.features
    if key not in features:
        raise UserError(f'a record of "{name}" has no "{key}".{did_you_mean(key, features)}')
    return features[key]


def _no_random_access(builder: Any, name: str) -> str:
    place, format = str(builder.data_path), builder.info.file_format.value
    if format == "tfrecord":
        remedy = f"convert it once: ./run.sh data prepare --tfrecord={shlex.quote(place)} --out=FOLDER"
    else:
        remedy = (
            f"prepare it anew, in another folder: ./run.sh data prepare --tfds={shlex.quote(name)} --data-dir=FOLDER"
        )
    return f'"{place}" is {format}, which has no random access; {remedy}'
