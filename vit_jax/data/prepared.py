"""Datasets prepared by TensorFlow Datasets, read without TensorFlow."""

from typing import Any

from vit_jax.data.examples import Example, Source
from vit_jax.errors import UserError, did_you_mean


class Prepared:
    """Gives the records of a tfds data source as examples, the image still encoded."""

    def __init__(self, records: Any, class_names: tuple[str, ...], image: str, label: str, title: str):
        self.records = records
        self.class_names = class_names
        self.image = image
        self.label = label
        self.title = title

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        if index >= len(self):  # tfds raises ValueError, which does not end a loop
            raise IndexError(f"record {index} of {len(self)}")
        record = self.records[index]
        return Example(record[self.image], int(record[self.label]), f"{self.title}[{index}]")


def tfds(split: str, name: str, data_dir: str = "", image: str = "image", label: str = "label") -> Source:
    """A dataset of the TensorFlow Datasets catalogue, or one of your own, prepared as ArrayRecord in `data_dir`.

    `name` may carry a version ("cifar10:3.0.2"); `data_dir` "" is tfds' own default; `image` and `label` are the
    keys of the image and of its class in a record. Slices of a split are tfds' own, in the order of the files.
    Raises UserError where the data is not prepared, is prepared in a format without random access, or lacks the split
    or a key.
    """
    import tensorflow_datasets
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    try:
        builder: Any = tensorflow_datasets.builder(name, data_dir=data_dir or None)
    except DatasetNotFoundError:
        place = data_dir or "its own folder"
        raise UserError(f'tfds knows no dataset "{name}", and none is prepared in {place}; check both') from None
    prepare = (
        f"prepare it where TensorFlow is installed: tfds build {name} --file_format=array_record "
        f"--data_dir={builder.data_dir_root}"
    )
    if not (builder.data_path / "dataset_info.json").exists():
        raise UserError(f'there is no "{builder.data_path}"; {prepare}')
    features = builder.info.features
    for key in (image, label):
        if key not in features:
            raise UserError(f'a record of "{name}" has no "{key}".{did_you_mean(key, features)}')
    if not isinstance(features[label], tensorflow_datasets.features.ClassLabel):
        raise UserError(f'"{label}" of "{name}" is {features[label]}; name the key of a single class label')

    try:
        records = builder.as_data_source(split=split, decoders={image: tensorflow_datasets.decode.SkipDecoding()})
    except NotImplementedError:
        raise UserError(
            f'"{builder.data_path}" is {builder.info.file_format.value}, which has no random access; {prepare}'
        ) from None
    except ValueError as error:
        raise UserError(f'cannot read split "{split}" of "{name}": {str(error).splitlines()[0]}') from None
    return Prepared(records, tuple(features[label].names), image, label, f"{name} {split}")
