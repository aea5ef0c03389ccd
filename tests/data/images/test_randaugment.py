"""The operations against TensorFlow's own (tests/golden/make_tensorflow.py), and how they are drawn."""

import collections
from pathlib import Path

import numpy as np
import pytest

from vit_jax.data.images import operations, randaugment
from vit_jax.data.images.randaugment import OPERATIONS, RandAugment
from vit_jax.errors import UserError

with np.load(Path(__file__).parents[2] / "golden" / "randaugment.npz") as archive:
    GOLDEN = dict(archive)
IMAGES = {name.partition("/")[0]: image for name, image in GOLDEN.items() if name.endswith("/image")}
SIGNED = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}


def cases(operation: str) -> list[tuple[str, int, np.ndarray]]:
    """Returns (image's name, magnitude, what comes out in each way) of every golden of an operation."""
    keys = [key.split("/") for key in GOLDEN if f"/{operation}/" in key and not key.endswith("/centres")]
    return [(image, int(magnitude), GOLDEN[f"{image}/{operation}/{magnitude}"]) for image, _, magnitude in keys]


def outcomes(operation: str, image: np.ndarray, magnitude: int) -> list[np.ndarray]:
    """Returns what comes out in each way, each once."""
    every = [OPERATIONS[operation](image, magnitude / 10, np.random.default_rng(seed)) for seed in range(8)]
    return list({outcome.tobytes(): outcome for outcome in every}.values())


def test_the_operations_are_those_of_the_released_code():
    """The paper lists fourteen, the identity among them; the code has invert, cutout and solarize_add in its place."""
    assert len(OPERATIONS) == 16
    assert {key.split("/")[1] for key in GOLDEN} - {"image"} == set(OPERATIONS)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "cutout"])
def test_an_operation_is_tensorflows_to_the_bit(operation):
    assert len(cases(operation)) >= 3
    for name, magnitude, expected in cases(operation):
        came = outcomes(operation, IMAGES[name], magnitude)
        assert len(expected) == (2 if operation in SIGNED else 1)
        assert len(came) == len({way.tobytes() for way in expected})
        for way in expected:
            assert min(np.abs(outcome.astype(int) - way).max() for outcome in came) == 0, (name, magnitude)


def test_cutout_is_tensorflows_to_the_bit():
    for name, magnitude, expected in cases("cutout"):
        centres = GOLDEN[f"{name}/cutout/centres"]
        for (row, column), way in zip(centres.tolist(), expected, strict=True):
            came = operations.cutout(IMAGES[name], row, column, int(magnitude / 10 * 40))
            np.testing.assert_array_equal(came, way)


def test_the_goldens_change_their_images():
    for operation in OPERATIONS:
        ways = [(name, way) for name, _, ways in cases(operation) for way in ways]
        # What leaves one alone: too few pixels to equalize, no move at magnitude 0, all bits kept at magnitude 20.
        assert np.mean([(way != IMAGES[name]).any() for name, way in ways]) > 0.6, operation
        if operation in SIGNED:
            assert sum(len(np.unique(way)) > 1 for _, way in ways) >= 6, "moved, but not all of it out of sight"


def test_contrast_blends_with_the_number_of_pixels_not_with_their_mean():
    image = np.full((224, 224, 3), 100, np.uint8)
    assert set(operations.contrast(image, 0.1).ravel()) == {int(196 + 0.1 * (100 - 196))}
    large = np.full((260, 260, 3), 100, np.uint8)
    assert set(operations.contrast(large, 0.1).ravel()) == {int(255 + 0.1 * (100 - 255))}


@pytest.mark.parametrize("magnitude", [0, 10, 20])
def test_solarize_inverts_at_whole_levels(magnitude):
    for image in IMAGES.values():
        (came,) = outcomes("solarize", image, magnitude)
        np.testing.assert_array_equal(came, 255 - image)


def test_moves_by_hand():
    image = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)[..., None].repeat(3, axis=-1)
    moved = {
        "left": operations.translate_x(image, 1.0),
        "down": operations.translate_y(image, -2.0),
        "sheared": operations.shear_x(image, 1.0),
        "turned": operations.rotate(image[:, :3], 90.0),
    }
    assert {name: came[..., 0].tolist() for name, came in moved.items()} == {
        "left": [[2, 3, 4, 128], [6, 7, 8, 128], [10, 11, 12, 128]],
        "down": [[128] * 4, [128] * 4, [1, 2, 3, 4]],
        "sheared": [[1, 2, 3, 4], [6, 7, 8, 128], [11, 12, 128, 128]],
        "turned": [[3, 7, 11], [2, 6, 10], [1, 5, 9]],
    }


def test_the_cutout_lies_anywhere_and_may_leave_the_image():
    image, rng, cut = np.zeros((6, 9, 3), np.uint8), np.random.default_rng(0), collections.Counter()
    for _ in range(2000):
        rows, columns = np.nonzero(OPERATIONS["cutout"](image, 0.025, rng)[..., 0])
        cut[rows.min() if len(set(rows)) == 2 else -1, columns.min() if len(set(columns)) == 2 else -1] += 1
    # A centre in row 0 leaves one row of two; each of the 54 centres is as likely.
    assert set(cut) == {(row, column) for row in range(-1, 5) for column in range(-1, 8)}
    assert max(cut.values()) < 70 and min(cut.values()) > 15, "37 expected"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_image_is_read_however_it_lies_in_memory_and_left_alone(operation):
    plain = IMAGES["24x36"][:, ::-1].copy()
    image = np.frombuffer(IMAGES["24x36"].tobytes(), np.uint8).reshape(24, 36, 3)[:, ::-1]  # mirrored, read only
    came = OPERATIONS[operation](image, 0.7, np.random.default_rng(0))
    assert came.dtype == np.uint8 and came.shape == image.shape
    np.testing.assert_array_equal(came, OPERATIONS[operation](plain, 0.7, np.random.default_rng(0)))
    np.testing.assert_array_equal(plain, IMAGES["24x36"][:, ::-1])


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 5, 3), (1, 7, 3)])
def test_tiny_images_pass(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    for operation in OPERATIONS.values():
        assert operation(image, 1.5, np.random.default_rng(0)).shape == shape


def test_operations_are_drawn_evenly_and_each_layer_by_itself(monkeypatch):
    drawn = []
    recorders = {name: lambda image, level, rng, name=name: drawn.append((name, level)) or image for name in OPERATIONS}
    monkeypatch.setattr(randaugment, "OPERATIONS", recorders)
    augment, rng, image = RandAugment(2, 15), np.random.default_rng(0), np.zeros((2, 2, 3), np.uint8)
    for _ in range(8000):
        augment(image, rng)
    names = [name for name, _ in drawn]
    counts = collections.Counter(names)
    assert set(counts) == set(OPERATIONS) and {level for _, level in drawn} == {1.5}
    assert 870 < min(counts.values()) <= max(counts.values()) < 1130, "1000 expected, give or take 31"
    pairs = collections.Counter(zip(names[::2], names[1::2], strict=True))
    assert len(pairs) == 256 and max(pairs.values()) < 60, "31 expected, give or take 6"


@pytest.mark.parametrize("operation", sorted(SIGNED))
def test_signs_are_drawn_both_ways(operation):
    rng, image = np.random.default_rng(0), IMAGES["24x36"]
    ways = collections.Counter(OPERATIONS[operation](image, 0.1, rng).tobytes() for _ in range(2000))
    assert len(ways) == 2 and min(ways.values()) > 900, "1000 expected, give or take 22"


def test_an_augmentation_is_its_operations_one_after_the_other():
    image = IMAGES["24x36"]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        expected = image
        for _ in range(3):
            name = list(OPERATIONS)[rng.integers(16)]
            expected = OPERATIONS[name](expected, 1.0, rng)
        np.testing.assert_array_equal(RandAugment(3, 10)(image, np.random.default_rng(seed)), expected)


@pytest.mark.parametrize("options", [{"layers": 0}, {"magnitude": -1}])
def test_options_that_make_no_sense(options):
    with pytest.raises(UserError, match="give at least 1 and 0"):
        RandAugment(**options)
