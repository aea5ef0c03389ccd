import itertools
import pickle

import numpy as np
import PIL.Image
import pytest

from vit_jax import data
from vit_jax.data import pipeline
from vit_jax.data.images import distortions
from vit_jax.data.images.erase import Erase
from vit_jax.data.images.randaugment import RandAugment
from vit_jax.data.images.strengths import STRENGTHS
from vit_jax.errors import UserError

CROP = {"kind": "inception_crop", "area": (0.3, 1.0), "flip": True}
BOTH = {"erase": {"probability": 0.5}, "randaugment": {"layers": 2, "magnitude": 5}}
PICTURE = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))


def whole(picture, rng):
    return np.asarray(picture)


def opened(augment):
    return data.opened({"kind": "digits"}, (12, 12), "train", CROP, augment)


def first(batches, count, step=0):
    with batches.since(step) as reading:
        return [batch["image"] for batch in itertools.islice(reading, count)]


def test_pixels_depend_on_the_seed_and_the_place_in_the_stream_alone():
    source, transform = opened(BOTH)
    reference = pipeline.training(source, transform, 40, seed=3, threads=0)
    expected = np.stack([reference[step]["image"] for step in range(6)])
    plain = pipeline.training(*opened({}), 40, seed=3, threads=0)[2]["image"]
    assert (expected[2] != plain).any(axis=(1, 2, 3)).mean() > 0.9
    for threads in (0, 1, 4):
        batches = pipeline.training(source, transform, 40, seed=3, threads=threads)
        np.testing.assert_array_equal(first(batches, 6), expected)
        np.testing.assert_array_equal(first(batches, 2, step=4), expected[4:])
    kept = pickle.loads(pickle.dumps(transform))
    np.testing.assert_array_equal(pipeline.training(source, kept, 40, seed=3)[5]["image"], expected[5])
    assert (pipeline.training(source, transform, 40, seed=4)[0]["image"] != expected[0]).any()


def test_hosts_draw_for_their_rows_what_one_host_would():
    source, transform = opened(BOTH)
    whole_batch = pipeline.training(source, transform, 48, seed=0)[7]["image"]
    parts = [pipeline.training(source, transform, 48, 0, rows=slice(at, at + 12))[7] for at in range(0, 48, 12)]
    np.testing.assert_array_equal(np.concatenate([part["image"] for part in parts]), whole_batch)


def test_distortions_follow_in_the_tables_order():
    assert list(distortions.DISTORTIONS) == ["randaugment", "erase"]
    both = distortions.after(whole, {"erase": {"probability": 1.0}, "randaugment": {"layers": 1, "magnitude": 9}})
    for seed in range(10):
        rng = np.random.default_rng(seed)
        expected = Erase(probability=1.0)(RandAugment(1, 9)(whole(PICTURE, rng), rng), rng)
        np.testing.assert_array_equal(both(PICTURE, np.random.default_rng(seed)), expected)


def test_nothing_named_is_nothing_done():
    assert distortions.after(whole, {}) is whole
    assert data.opened({"kind": "digits"}, (12, 12), "val", CROP)[1] == opened({})[1]


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"randaugmnt": {}}, 'unknown augmentation "randaugmnt". Did you mean "randaugment"'),
        ({"randaugment": {"layer": 2}}, 'augment "randaugment" reads no "layer". Did you mean "layers"'),
        ({"erase": {"probabilty": 0.5}}, 'augment "erase" reads no "probabilty". Did you mean "probability"'),
        ({"erase": 0.5}, 'augment "erase" is a section of options'),
        ({"erase": {"probability": 2.0}}, "probability is 2.0"),
    ],
)
def test_what_is_not_known_is_named(augment, message):
    with pytest.raises(UserError, match=message):
        opened(augment)


def test_the_strengths_are_augregs():
    """Layers and magnitude of RandAugment, strength of mixup."""
    published = {
        "none": (0, 0, 0.0),
        "light1": (2, 0, 0.0),
        "light2": (2, 10, 0.2),
        "medium1": (2, 15, 0.2),
        "medium2": (2, 15, 0.5),
        "strong1": (2, 20, 0.5),
        "strong2": (2, 20, 0.8),
    }
    ours = {}
    for name, (augment, mixup) in STRENGTHS.items():
        options = distortions.after(whole, augment)
        steps = options.distortions if isinstance(options, distortions.Distorted) else ()
        assert all(isinstance(step, RandAugment) for step in steps) and len(steps) <= 1
        ours[name] = (*((steps[0].layers, steps[0].magnitude) if steps else (0, 0)), mixup)
    assert ours == published
