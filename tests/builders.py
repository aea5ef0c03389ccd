"""A small TFDS dataset: 20 + 5 PNGs, each of its own grey, of two classes in turn."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import tensorflow_datasets


class Small(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tensorflow_datasets.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tensorflow_datasets.features.Image(shape=(None, None, 3)),
            "label": tensorflow_datasets.features.ClassLabel(names=["cat", "dog"]),
            "number": tensorflow_datasets.features.Scalar(np.int32),
            "id": tensorflow_datasets.features.Text(),
        }
        return tensorflow_datasets.core.DatasetInfo(
            builder=self, features=tensorflow_datasets.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(20), "test": self._generate_examples(5)}

    def _generate_examples(self, count):
        for i in range(count):
            file = io.BytesIO()
            PIL.Image.fromarray(np.full((4, 5, 3), i, np.uint8)).save(file, "PNG")
            file.seek(0)
            yield i, {"image": file, "label": i % 2, "number": i, "id": f"number {i}"}


def prepared(data_dir: Path, shards: int = 1) -> Path:
    """Prepares it as ArrayRecord, each split in so many shards; returns the folder that tfds made for it."""
    tensorflow_datasets.disable_progress_bar()
    builder = Small(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(download_config=tensorflow_datasets.download.DownloadConfig(num_shards=shards))
    return Path(builder.data_path)
