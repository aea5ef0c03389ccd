"""How the peers make batches by tf.data, for input.py to measure: JPEGs, an Inception crop, resizing, a flip."""

import importlib
import os
from collections.abc import Callable, Iterable
from typing import Any

BATCH = 64
Start = Callable[[int], Iterable[object]]  # so many batches, none made before the first is asked for
Way = Callable[[list[bytes], int, int], Start]  # of these files, at this size, with so many threads


def big_vision(antialias: bool, to_float: bool) -> Way:
    """Returns big_vision's way: input_pipeline.make_for_train and pp/ops_image.py (0127fb6).

    `to_float` adds its value_range(-1, 1), which every config of it has; without, images stay uint8, as here.
    """

    def way(files: list[bytes], size: int, threads: int) -> Start:
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
        encoded = tf.data.Dataset.from_tensor_slices(files).with_options(options).repeat()

        def start(count: int) -> Iterable[object]:
            data = encoded.take(count * BATCH).map(preprocessed, num_parallel_calls=100)
            return data.batch(BATCH, drop_remainder=True).prefetch(2)

        return start

    return way


def google_research(files: list[bytes], size: int, threads: int) -> Start:
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

    encoded = tf.data.Dataset.from_tensor_slices(files).repeat()

    def start(count: int) -> Iterable[object]:
        data = encoded.take(count * BATCH).map(preprocessed, tf.data.AUTOTUNE)
        return data.batch(BATCH, drop_remainder=True).prefetch(1)

    return start


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
