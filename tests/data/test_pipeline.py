import hashlib
import itertools
import pickle
import threading
import time

import numpy as np
import pytest

from vit_jax.data import pipeline, sources
from vit_jax.data.examples import Arrays
from vit_jax.data.images import preprocess
from vit_jax.errors import UserError


class Numbered(Arrays):
    """Images whose pixels are their number."""

    def __init__(self, size):
        super().__init__(np.broadcast_to(np.arange(size, dtype=np.uint8)[:, None, None], (size, 4, 4)), np.arange(size))


def still(picture, rng):
    return np.asarray(picture)


def noisy(picture, rng):
    return rng.integers(0, 256, (4, 4, 3), np.uint8)


def digest(batch):
    return hashlib.sha256(b"".join(key.encode() + batch[key].tobytes() for key in sorted(batch))).hexdigest()


def first(batches, count, step=0):
    with batches.since(step) as reading:
        return list(itertools.islice(reading, count))


def test_a_batch_is_as_the_models_want_it():
    batch = pipeline.training(Numbered(9), still, 4, seed=0)[0]
    assert {key: (value.dtype, value.shape) for key, value in batch.items()} == {
        "image": (np.uint8, (4, 4, 4, 3)),
        "label": (np.int32, (4,)),
    }
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["label"])


def test_batches_are_the_same_whatever_the_threads_and_the_first_step():
    crop = preprocess.build("inception_crop", (12, 12))
    source = sources.build("digits", "train")
    reference = pipeline.training(source, crop, 70, seed=3, threads=0)
    expected = [digest(reference[step]) for step in range(20)]
    assert len(set(expected)) == 20
    for threads in (0, 1, 4):
        batches = pipeline.training(source, crop, 70, seed=3, threads=threads)
        assert [digest(batch) for batch in first(batches, 20)] == expected
        assert [digest(batch) for batch in first(batches, 6, step=14)] == expected[14:]
        assert digest(batches[17]) == expected[17]
    assert digest(pipeline.training(source, crop, 70, seed=4)[0]) != expected[0]
    assert digest(pickle.loads(pickle.dumps(reference))[5]) == expected[5]


def test_an_epoch_is_a_permutation_and_the_next_another():
    batches = pipeline.training(Numbered(50), still, 20, seed=0)
    labels = np.concatenate([batch["label"] for batch in first(batches, 10)])
    epochs = labels.reshape(4, 50)
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    neighbour = pipeline.training(Numbered(50), still, 50, seed=1)
    assert tuple(neighbour[0]["label"]) not in {tuple(epoch) for epoch in epochs}, "seeds must not share their epochs"


def test_a_batch_may_be_larger_than_the_source():
    labels = pipeline.training(Numbered(3), still, 100, seed=0)[2]["label"]
    assert set(np.bincount(labels)) <= {33, 34}


def test_every_image_has_its_own_noise():
    batches = pipeline.training(Numbered(5), noisy, 64, seed=0)
    images = np.concatenate([batch["image"] for batch in first(batches, 4)])
    assert len({image.tobytes() for image in images}) == 256
    assert images.mean() == pytest.approx(127.5, abs=3)


def test_hosts_together_read_the_global_batch():
    make = lambda **rows: pipeline.training(Numbered(50), noisy, 48, seed=0, **rows)[7]  # noqa: E731
    whole, parts = make(), [make(rows=slice(start, start + 12)) for start in range(0, 48, 12)]
    for key in whole:
        np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), whole[key])


@pytest.mark.parametrize(("size", "batch_size"), [(50, 7), (50, 50), (50, 64), (64, 32), (65, 64), (100, 33), (1, 1)])
@pytest.mark.parametrize("threads", [0, 3])
def test_evaluation_counts_every_example_once(size, batch_size, threads):
    batches = pipeline.evaluation(Numbered(size), still, batch_size, threads)
    read = list(batches)
    assert len(read) == len(batches) == int(np.ceil(size / batch_size))
    assert all(batch["image"].shape[0] == batch["mask"].shape[0] == batch_size for batch in read)
    joined = {key: np.concatenate([batch[key] for batch in read]) for key in read[0]}
    seen = joined["mask"] == 1
    assert joined["index"][seen].tolist() == joined["label"][seen].tolist() == list(range(size))
    np.testing.assert_array_equal(joined["image"][seen][:, 2, 1, 0], np.arange(size))
    assert joined["mask"][~seen].sum() == 0
    assert (joined["mask"].dtype, joined["index"].dtype, joined["label"].dtype) == (np.float32, np.int32, np.int32)
    assert [digest(batch) for batch in batches] == [digest(batch) for batch in read], "it can be read again"


def test_evaluation_ends():
    batches = pipeline.evaluation(Numbered(10), still, 4)
    with pytest.raises(IndexError):
        batches[3]
    with pytest.raises(TypeError, match="no end"):
        len(pipeline.training(Numbered(10), still, 4, seed=0))


class Flawed(Numbered):
    def __getitem__(self, index):
        example = super().__getitem__(index)
        return example._replace(image=b"not an image", name="cat/7.jpg") if index == 7 else example


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_a_flawed_image_is_raised_at_its_batch(threads):
    with pipeline.evaluation(Flawed(12), still, 3, threads).since(0) as reading:
        assert [next(reading)["label"].tolist() for _ in range(2)] == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(UserError, match=r"cat/7\.jpg"):
            next(reading)


def data_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("data")]


def test_closing_ends_the_threads():
    batches = pipeline.training(Numbered(50), still, 64, seed=0, threads=4)
    with batches.since(0) as reading:
        next(reading)
        assert data_threads()
    assert not data_threads()
    with pytest.raises(StopIteration):
        next(reading)
    for _ in pipeline.evaluation(Numbered(50), still, 20, threads=2):
        pass
    assert not data_threads()


def test_threads_read_ahead_but_not_without_end():
    asked = []
    lock = threading.Lock()

    def record(picture, rng):
        with lock:
            asked.append(picture.getpixel((0, 0)))
        return np.asarray(picture)

    with pipeline.training(Numbered(50), record, 32, seed=0, threads=2).since(0) as reading:
        next(reading)
        deadline = time.monotonic() + 5
        while len(asked) < 96 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert 96 <= len(asked) <= 6 * 32


def test_the_bookkeeping_of_an_example_is_small():
    batches = pipeline.training(Numbered(200), still, 64, seed=0, threads=0)
    with batches.since(0) as reading:
        next(reading)
        started = time.process_time()
        for _ in range(30):
            next(reading)
        took = (time.process_time() - started) / (30 * 64)
    assert took < 400e-6, "about 10e-6, and annotations are checked here"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 0}, "batch_size 0"), ({"threads": -1}, "-1 threads"), ({"seed": -1}, "seed is -1")],
)
def test_numbers_that_make_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        pipeline.training(Numbered(3), still, **{"batch_size": 2, "seed": 0} | options)
