"""The ways that benchmarks/input.py compares: this project's, Pillow's in threads, and the peers' by tf.data."""

import importlib
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from vit_jax.data import pipeline
from vit_jax.data.examples import Example
from vit_jax.data.images import Image, preprocess
from vit_jax.data.images.picture import Picture

BATCH = 64
Batches = Iterator[object]
Way = Callable[[list[bytes], int, int], Batches]  # of these files, at this size, with so many threads


class Jpegs:
    """Files in memory as a source, again and again."""

    class_names: tuple[str, ...] = ("",)
    most_labels: int | None = None

    def __init__(self, files: list[bytes]):
        self.files = files

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> Example:
        return Example(self.files[index % len(self.files)], 0, "")


def ours(decoder: str) -> Way:
    """Returns the way of this project, from a source to batches."""

    def batches(files: list[bytes], size: int, threads: int) -> Batches:
        transform = preprocess.build("inception_crop", (size, size), decoder=decoder)
        with pipeline.training(Jpegs(files), transform, BATCH, 0, threads).since(0) as ahead:
            yield from ahead

    return batches


class Nothing:
    """All that Python does for an Inception crop, and no pixel."""

    def __init__(self, size: int):
        self.crop = preprocess.InceptionCrop((size, size))
        self.image = np.zeros((size, size, 3), np.uint8)

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Image:
        """Returns the same image always."""
        width, height = picture.size
        self.crop.draw_box(height, width, rng)
        rng.random()
        return self.image


def nothing(files: list[bytes], size: int, threads: int) -> Batches:
    """The pipeline of this project around a decoder that does nothing: what Python and the copying cost."""
    with pipeline.training(Jpegs(files), Nothing(size), BATCH, 0, threads).since(0) as ahead:
        yield from ahead


def pillow(files: list[bytes], size: int, threads: int) -> Batches:
    """Pillow in threads, as torchvision's RandomResizedCrop and flip call it; antialiased."""
    crop = preprocess.InceptionCrop((size, size))

    def image(number: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        picture = PIL.Image.open(io.BytesIO(files[number % len(files)])).convert("RGB")
        picture = picture.crop(crop.draw_box(picture.height, picture.width, rng))
        picture = picture.resize((size, size), PIL.Image.Resampling.BILINEAR)
        if rng.random() < 0.5:
            picture = picture.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(picture)

    with ThreadPoolExecutor(threads) as pool:
        start = 0
        while True:
            yield np.stack(list(pool.map(image, range(start, start + BATCH))))
            start += BATCH


def big_vision(antialias: bool, to_float: bool) -> Way:
    """Returns big_vision's way: input_pipeline.make_for_train and pp/ops_image.py (0127fb6).

    `to_float` adds its value_range(-1, 1), which every config of it has; without, images stay uint8, as here.
    """

    def batches(files: list[bytes], size: int, threads: int) -> Batches:
        del threads  # its own: 100 calls at a time
        tf = tensorflow()

        def preprocessed(file: Any) -> Any:
            begin, crop, _ = inception_box(tf, tf.image.extract_jpeg_shape(file), aspect_ratio_range=(0.75, 1.33))
            (top, left, _), (height, width, _) = tf.unstack(begin), tf.unstack(crop)
            image = tf.image.decode_and_crop_jpeg(file, tf.stack([top, left, height, width]), channels=3)
            image = tf.image.resize(image, (size, size), method="bilinear", antialias=antialias)
            image = tf.image.random_flip_left_right(tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8))
            return tf.cast(image, tf.float32) / 255 * 2 - 1 if to_float else image

        options = tf.data.Options()
        options.threading.private_threadpool_size = 48
        options.threading.max_intra_op_parallelism = 1
        options.experimental_optimization.inject_prefetch = False
        data = tf.data.Dataset.from_tensor_slices(files).with_options(options).repeat()
        data = data.map(preprocessed, num_parallel_calls=100).batch(BATCH, drop_remainder=True)
        return iter(data.prefetch(2))

    return batches


def google_research(files: list[bytes], size: int, threads: int) -> Batches:
    """The published ViT's way: vit_jax/input_pipeline.py of google-research/vision_transformer (c6de1e5)."""
    del threads  # its own: AUTOTUNE
    tf = tensorflow()

    def preprocessed(file: Any) -> Any:
        image = tf.image.decode_jpeg(file, channels=3)
        begin, crop, _ = inception_box(tf, tf.shape(image))
        image = tf.slice(image, begin, crop)
        image.set_shape([None, None, 3])
        image = tf.image.resize(image, (size, size))
        if tf.random.uniform(shape=[]) > 0.5:
            image = tf.image.flip_left_right(image)
        return (image - 127.5) / 127.5

    data = tf.data.Dataset.from_tensor_slices(files).repeat()
    return iter(data.map(preprocessed, tf.data.AUTOTUNE).batch(BATCH, drop_remainder=True).prefetch(1))


def inception_box(tf: Any, shape: Any, **options: Any) -> Any:
    """Returns what both peers draw: begin, size and box of a crop."""
    return tf.image.sample_distorted_bounding_box(
        shape,
        tf.zeros([0, 0, 4], tf.float32),
        area_range=(0.05, 1.0),
        min_object_covered=0,
        use_image_if_no_bounding_boxes=True,
        **options,
    )


def tensorflow() -> Any:
    """Returns the library, told to be quiet."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    return importlib.import_module("tensorflow")


class Contestant(NamedTuple):
    """A way, and the packages that it takes, whose versions are printed."""

    way: Way
    packages: tuple[str, ...]


REFERENCE = "tf.data, big_vision"
CONTESTANTS = {
    REFERENCE: Contestant(big_vision(antialias=False, to_float=False), ("tensorflow",)),
    "the same, to float32": Contestant(big_vision(antialias=False, to_float=True), ("tensorflow",)),
    "the same, antialiased": Contestant(big_vision(antialias=True, to_float=False), ("tensorflow",)),
    "tf.data, google-research": Contestant(google_research, ("tensorflow",)),
    "Pillow in threads": Contestant(pillow, ("PIL",)),
    'vit_jax, decoder "pil"': Contestant(ours("pil"), ("PIL",)),
    'vit_jax, decoder "fast"': Contestant(ours("fast"), ("simplejpeg", "cykooz_resizer")),
    "vit_jax, nothing decoded": Contestant(nothing, ("numpy",)),
}
