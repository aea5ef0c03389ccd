import hashlib
import itertools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from streams import Flawed, Gone, Numbered, noisy, slow, still

from vit_jax.data import pipeline, sources
from vit_jax.data.images import preprocess
from vit_jax.data.order import Sampling
from vit_jax.errors import UserError


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


def test_batches_are_the_same_whatever_the_workers_and_the_first_step():
    crop = preprocess.build("inception_crop", (12, 12))
    source = sources.build("digits", "train")
    reference = pipeline.training(source, crop, 70, seed=3, threads=0)
    expected = [digest(reference[step]) for step in range(20)]
    assert len(set(expected)) == 20
    for workers in ({"threads": 0}, {"threads": 1}, {"threads": 4}, {"processes": 1}, {"processes": 3}):
        batches = pipeline.training(source, crop, 70, seed=3, **workers)
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
    assert [pipeline.rows_of(host, 4, 48) for host in range(4)] == [slice(s, s + 12) for s in range(0, 48, 12)]
    for host, hosts in ((0, 5), (4, 4), (-1, 4)):
        with pytest.raises(UserError, match="does not divide among hosts"):
            pipeline.rows_of(host, hosts, 48)


@pytest.mark.parametrize(("size", "batch_size"), [(50, 7), (50, 50), (50, 64), (64, 32), (65, 64), (100, 33), (1, 1)])
@pytest.mark.parametrize("threads", [0, 3])
def test_evaluation_counts_every_example_once(size, batch_size, threads, processes=0):
    batches = pipeline.evaluation(Numbered(size), still, batch_size, threads, processes)
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


def test_evaluation_in_processes_counts_every_example_once():
    test_evaluation_counts_every_example_once(100, 33, 0, processes=2)


def test_evaluation_ends():
    batches = pipeline.evaluation(Numbered(10), still, 4)
    with pytest.raises(IndexError):
        batches[3]
    with pytest.raises(TypeError, match="no end"):
        len(pipeline.training(Numbered(10), still, 4, seed=0))


WORKERS = [{"threads": 0}, {"threads": 1}, {"threads": 4}, {"processes": 2}]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_flawed_image_is_raised_at_its_batch_of_an_evaluation(workers):
    with pipeline.evaluation(Flawed(12, [7]), still, 3, **workers).since(0) as reading:
        assert [next(reading)["label"].tolist() for _ in range(2)] == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(UserError, match=r"cat/7\.jpg"):
            next(reading)


@pytest.mark.parametrize("workers", WORKERS)
def test_in_training_the_next_image_stands_in_for_a_flawed_one(workers, caplog):
    sampling = Sampling(unreadable_share=0.04)
    flawed = pipeline.training(Flawed(50, [7, 49]), noisy, 40, seed=0, sampling=sampling, **workers)
    whole = pipeline.training(Numbered(50), noisy, 40, seed=0, threads=0)
    for step, batch in enumerate(first(flawed, 4)):
        expected = whole[step]
        stand_ins = np.select([expected["label"] == 7, expected["label"] == 49], [8, 0], expected["label"])
        np.testing.assert_array_equal(batch["label"], stand_ins)
        np.testing.assert_array_equal(batch["image"], expected["image"], "the draws are those of the place")
    assert sorted(flawed.tally.found) == [7, 49]
    assert [record.getMessage() for record in caplog.records if "cat/7.jpg" in record.getMessage()] == [
        'cannot decode "cat/7.jpg" (not an image); mend it or take it out; the next image stands in for it '
        f"({1 if 'cat/7' in caplog.messages[0] else 2} so far)"
    ]
    assert len(caplog.records) == 2, "each is named once, however often it comes"


def test_more_flawed_images_than_their_share_stop_a_training():
    batches = pipeline.training(Flawed(50, [7, 49]), still, 50, seed=0, sampling=Sampling(unreadable_share=0.02))
    with batches.since(0) as reading, pytest.raises(UserError, match="2 of 50 images cannot be read, more than"):
        next(reading)
    by_default = pipeline.training(Flawed(50, [7]), still, 50, seed=0)
    with by_default.since(0) as reading, pytest.raises(UserError, match=r"cat/7\.jpg.*1 of 50.*data check"):
        next(reading)


def test_no_stand_in_is_looked_for_without_end():
    batches = pipeline.training(Flawed(50, range(20, 50)), still, 50, seed=0, sampling=Sampling(unreadable_share=1.0))
    with batches.since(0) as reading, pytest.raises(UserError, match="nor can the 15 before it"):
        next(reading)


@pytest.mark.parametrize("workers", [*WORKERS[:3], pytest.param(WORKERS[3], marks=pytest.mark.slow)])
def test_a_file_that_is_gone_is_not_a_flawed_image(workers):
    batches = pipeline.training(Gone(50), still, 50, seed=0, sampling=Sampling(unreadable_share=1.0), **workers)
    with batches.since(0) as reading, pytest.raises(UserError, match="no such file"):
        next(reading)


def test_a_killed_process_is_said():
    with pipeline.training(Numbered(50), slow, 64, seed=0, processes=2).since(0) as reading:
        next(reading)
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match=r"killed.*config\.processes"):
            for _ in range(10):
                next(reading)
        for _ in range(6):  # those too that are asked for from here on
            with pytest.raises(UserError, match="killed"):
                next(reading)


ORPHANS = """
import os, signal, sys
from multiprocessing import active_children
from streams import Numbered, slow
from vit_jax.data import pipeline
if __name__ == "__main__":
    with pipeline.training(Numbered(50), slow, 64, seed=0, processes=2).since(0) as reading:
        next(reading)
        print(*[process.pid for process in active_children()], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_the_one_that_they_work_for(tmp_path):
    (tmp_path / "main.py").write_text(ORPHANS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["tests", "."])}
    done = subprocess.run([sys.executable, tmp_path / "main.py"], capture_output=True, text=True, env=environment)
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}/exe") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids)


def test_closing_ends_the_processes():
    with pipeline.training(Numbered(50), still, 64, seed=0, processes=2).since(0) as reading:
        next(reading)
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


def test_a_process_starts_without_jax():
    program = "import sys, vit_jax.data.pipeline; print([name for name in ('jax', 'flax') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


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
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"threads": -1}, "-1 threads"),
        ({"processes": -1}, "-1 processes"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_numbers_that_make_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        pipeline.training(Numbered(3), still, **{"batch_size": 2, "seed": 0} | options)
