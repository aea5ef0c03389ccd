"""Makes randaugment.npz: RandAugment's operations of TensorFlow's own ops, put together as in its TPU code of 2019.

The file holds, of images called HEIGHTxWIDTH,
  NAME/image                  uint8 (height, width, 3);
  NAME/OPERATION/MAGNITUDE    uint8 (ways, height, width, 3): what comes out; two ways where a sign is drawn, + and -;
  NAME/cutout/centres         int64 (ways, 2): the (row, column) of each way of the cutouts.
Operations that know no magnitude are stored under 10.

Run with the packages of the `parity` extra: python tests/golden/make_tensorflow.py
oneDNN is switched off: it adds up a convolution in another order than TensorFlow did when the recipes were published.
"""

import math
import os
import pathlib

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np
import tensorflow as tf

MAGNITUDES = (0, 1, 4, 10, 15, 20, 25)
FILL = 128


def clipped(values):
    """Returns uint8 as the published code makes it: cut off at both ends, then the fraction dropped."""
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)


def blend(start, stop, factor):
    """Returns start + factor (stop - start); the two ends themselves are not computed."""
    if factor in (0.0, 1.0):
        return stop if factor else start
    start, stop = tf.cast(start, tf.float32), tf.cast(stop, tf.float32)
    return clipped(start + factor * (stop - start))


def by_channel(function):
    """Lets `function` see a channel at a time."""
    return lambda image: tf.stack([function(image[..., channel]) for channel in range(3)], axis=-1)


def auto_contrast(channel):
    """Returns the channel with its least value at 0 and its largest at 255."""
    low, high = (tf.cast(edge(channel), tf.float32) for edge in (tf.reduce_min, tf.reduce_max))
    if not high > low:
        return channel
    scale = 255.0 / (high - low)
    return clipped(tf.cast(channel, tf.float32) * scale + -low * scale)


def equalize(channel):
    """Returns the channel looked up in the cumulative histogram, as Pillow does it."""
    channel = tf.cast(channel, tf.int32)
    counts = tf.histogram_fixed_width(channel, [0, 255], nbins=256)
    present = tf.boolean_mask(counts, counts != 0)
    step = (tf.reduce_sum(present) - present[-1]) // 255
    if step == 0:
        return tf.cast(channel, tf.uint8)
    table = tf.concat([[0], ((tf.cumsum(counts) + step // 2) // step)[:-1]], axis=0)
    return tf.cast(tf.gather(tf.clip_by_value(table, 0, 255), channel), tf.uint8)


def posterize(image, bits):
    """Returns the image shifted right and back left; the count becomes a uint8 as the image is."""
    return tf.bitwise.left_shift(tf.bitwise.right_shift(image, 8 - bits), 8 - bits)


def solarize(image, threshold):
    """Returns the image inverted where it is not below the threshold, which becomes a uint8 as the image is."""
    return tf.where(image < threshold, image, 255 - image)


def solarize_add(image, addition):
    """Returns the image with its dark pixels lightened."""
    added = tf.cast(tf.clip_by_value(tf.cast(image, tf.int64) + addition, 0, 255), tf.uint8)
    return tf.where(image < 128, added, image)


def color(image, factor):
    """Returns the image with its colours weakened or strengthened."""
    return blend(tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image)), image, factor)


def contrast(image, factor):
    """Returns a blend with what was meant to be the mean grey: the histogram is summed, not weighed by its values."""
    counts = tf.histogram_fixed_width(tf.cast(tf.image.rgb_to_grayscale(image), tf.int32), [0, 255], nbins=256)
    mean = clipped(tf.reduce_sum(tf.cast(counts, tf.float32)) / 256.0)
    return blend(tf.fill(image.shape, mean), image, factor)


def brightness(image, factor):
    """Returns a blend with black."""
    return blend(tf.zeros_like(image), image, factor)


def sharpness(image, factor):
    """Returns a blend with the image smoothed, but for its border."""
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32)[..., None, None] / 13.0
    smooth = tf.nn.depthwise_conv2d(
        tf.cast(image, tf.float32)[None], tf.tile(kernel, [1, 1, 3, 1]), [1, 1, 1, 1], "VALID"
    )
    inside = [[1, 1], [1, 1], [0, 0]]
    smooth = clipped(smooth)[0]
    degenerate = tf.where(tf.pad(tf.ones_like(smooth), inside) == 1, tf.pad(smooth, inside), image)
    return blend(degenerate, image, factor)


def transform(image, matrix):
    """Returns the image moved by TensorFlow's raw op: an alpha channel of ones tells what came from outside."""
    height, width, _ = image.shape
    wrapped = tf.concat([image, tf.ones([height, width, 1], tf.uint8)], axis=-1)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=wrapped[None],
        transforms=tf.reshape(tf.cast(tf.stack([*matrix, 0.0, 0.0]), tf.float32), [1, 8]),
        output_shape=[height, width],
        interpolation="NEAREST",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )[0]
    return tf.where(moved[..., 3:] == 0, tf.constant(FILL, tf.uint8), moved[..., :3])


def rotate(image, degrees):
    """Returns the image turned round its middle."""
    angle = tf.constant(degrees * (math.pi / 180.0), tf.float32)
    height, width = (tf.cast(side, tf.float32) - 1 for side in image.shape[:2])
    cosine, sine = tf.math.cos(angle), tf.math.sin(angle)
    right = (width - (cosine * width - sine * height)) / 2.0
    down = (height - (sine * width + cosine * height)) / 2.0
    return transform(image, (cosine, -sine, right, sine, cosine, down))


def cutout(image, row, column, reach):
    """Returns the image with a square filled; a mask of ones is padded around it to the image's size."""
    height, width, _ = image.shape
    above, below = max(0, row - reach), max(0, height - row - reach)
    left, right = max(0, column - reach), max(0, width - column - reach)
    hole = tf.zeros([height - above - below, width - left - right], tf.uint8)
    mask = tf.pad(hole, [[above, below], [left, right]], constant_values=1)
    return tf.where(tf.tile(mask[..., None], [1, 1, 3]) == 0, tf.constant(FILL, tf.uint8), image)


# What an operation is given at a level, magnitude / 10: an argument for each way.
def signed(full):
    """Either sign of the level's share of `full`."""
    return lambda level: (level * full, -(level * full))


def counted(full):
    """A whole number."""
    return lambda level: (int(level * full),)


def enhanced(level):
    """A factor to blend by."""
    return (level * 1.8 + 0.1,)


PLAIN = {
    "auto_contrast": by_channel(auto_contrast),
    "equalize": by_channel(equalize),
    "invert": lambda image: 255 - image,
}
LEVELLED = {
    "rotate": (rotate, signed(30.0)),
    "posterize": (posterize, counted(4)),
    "solarize": (solarize, counted(256)),
    "color": (color, enhanced),
    "contrast": (contrast, enhanced),
    "brightness": (brightness, enhanced),
    "sharpness": (sharpness, enhanced),
    "shear_x": (lambda image, slope: transform(image, (1.0, slope, 0.0, 0.0, 1.0, 0.0)), signed(0.3)),
    "shear_y": (lambda image, slope: transform(image, (1.0, 0.0, 0.0, slope, 1.0, 0.0)), signed(0.3)),
    # A translation to the left by `pixels` reads that far to the right.
    "translate_x": (lambda image, pixels: transform(image, (1.0, 0.0, pixels, 0.0, 1.0, 0.0)), signed(100.0)),
    "translate_y": (lambda image, pixels: transform(image, (1.0, 0.0, 0.0, 0.0, 1.0, pixels)), signed(100.0)),
    "solarize_add": (solarize_add, counted(110)),
}


def pictures():
    """Returns three images: of all values, of a narrow range, and with a channel of one value and one of two."""
    random = np.random.default_rng(0)
    waves = [np.add.outer(np.sin(np.arange(24) / (3 + n)), np.cos(np.arange(36) / (7 - n))) for n in range(3)]
    bright = np.stack(waves, axis=-1) * 80 + 127 + random.normal(0, 2, (24, 36, 3))
    bright[:2, :20] = np.arange(0, 240, 2).reshape(2, 20, 3)
    narrow = 90 + 30 * random.random((10, 10, 3)).repeat(4, axis=0).repeat(4, axis=1)
    flat = np.full((9, 13, 3), 77)
    flat[..., 1] = np.where(np.arange(13) < 5, 10, 240)
    flat[..., 2] = np.arange(9 * 13).reshape(9, 13)
    named = (bright, narrow, flat)
    return {f"{image.shape[0]}x{image.shape[1]}": image.clip(0, 255).astype(np.uint8) for image in named}


def main():
    """Writes randaugment.npz beside this script."""
    arrays = {}
    for name, image in pictures().items():
        arrays[f"{name}/image"] = image
        given = tf.constant(image)
        for operation, function in PLAIN.items():
            arrays[f"{name}/{operation}/10"] = function(given).numpy()[None]
        for operation, (function, arguments) in LEVELLED.items():
            for magnitude in MAGNITUDES:
                ways = [function(given, argument).numpy() for argument in arguments(magnitude / 10)]
                arrays[f"{name}/{operation}/{magnitude}"] = np.stack(ways)
        height, width, _ = image.shape
        centres = np.array([(0, 0), (height // 2, width // 2 + 1), (height - 1, width - 2)])
        arrays[f"{name}/cutout/centres"] = centres
        for magnitude in MAGNITUDES:
            ways = [cutout(given, *map(int, centre), int(magnitude / 10 * 40)).numpy() for centre in centres]
            arrays[f"{name}/cutout/{magnitude}"] = np.stack(ways)
    np.savez_compressed(pathlib.Path(__file__).with_name("randaugment.npz"), **arrays)


if __name__ == "__main__":
    main()
