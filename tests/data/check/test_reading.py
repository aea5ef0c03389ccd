import time

import flawed
import numpy as np
import pytest

from vit_jax.data import sources
from vit_jax.data.check import reading
from vit_jax.data.check.look import Flaw
from vit_jax.data.examples import Arrays, Example
from vit_jax.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Two classes with a file of every flaw each, and one that cannot be read."""
    for label in ("cat", "dog"):
        for name, content in flawed.FILES.items():
            (tmp_path / label).mkdir(exist_ok=True)
            (tmp_path / label / name).write_bytes(content)
    (tmp_path / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    return sources.build("folder", "all", path=str(tmp_path))


def test_everything_is_read_in_order(folder):
    found = reading.joined(list(reading.read(folder)))
    assert len(found.facts) == len(folder) == 2 * len(flawed.FILES) + 1
    assert found.classes.tolist() == [len(flawed.FILES)] * 2, "the label of what cannot be read is not known"
    unreadable = [i for i, file in enumerate(folder.files) if file == "dog/gone.jpg"]
    assert np.flatnonzero(found.facts["flaws"] == Flaw.UNREADABLE).tolist() == unreadable
    assert sorted(found.reasons) == np.flatnonzero(~found.sound).tolist()
    assert all(folder.files[index] in reason for index, reason in found.reasons.items())


def test_an_image_costs_a_hundred_bytes():
    assert reading.FACTS.itemsize == 100


def test_mean_and_std_count_every_image_alike():
    """A black and a white image of other sizes, one more that is lost: a half, whatever the sizes."""

    class Three:
        class_names, most_labels = ("",), None

        def __len__(self):
            return 3

        def __getitem__(self, index):
            image = [np.zeros((2, 2), np.uint8), np.full((40, 50), 255, np.uint8), b"no image"][index]
            return Example(image, 0, str(index))

    mean, std = reading.joined(list(reading.read(Three()))).mean_and_std
    np.testing.assert_allclose([mean, std], 0.5)


def test_mean_and_std_are_those_of_all_pixels_of_one_size():
    images = np.random.default_rng(0).integers(0, 256, (600, 4, 5, 3)).astype(np.uint8)
    found = list(reading.read(Arrays(images, [0] * 600)))
    assert len(found) == 3, "pieces"
    mean, std = reading.joined(found).mean_and_std
    pixels = images.reshape(-1, 3) / 255
    np.testing.assert_allclose([mean, std], [pixels.mean(axis=0), pixels.std(axis=0)], rtol=1e-9)


def test_several_labels_in_any_order_are_one_set():
    class Several:
        class_names, most_labels = ("a", "b", "c"), 2

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return Example(np.zeros((8, 8), np.uint8), [(0, 2), (2, 0), (1,), (0, 1)][index], str(index))

    found = reading.joined(list(reading.read(Several())))
    labels = found.facts["label"].tolist()
    assert labels[0] == labels[1] != labels[3] and labels[2] == 1
    assert found.classes.tolist() == [3, 2, 2]


def test_a_source_that_breaks_is_a_flaw_of_the_image():
    class Broken(Arrays):
        def __getitem__(self, index):
            raise RuntimeError("checksum\nmismatch")

    found = reading.joined(list(reading.read(Broken(np.zeros((2, 8, 8), np.uint8), [0, 0]))))
    assert found.reasons[1] == "example 1: RuntimeError: checksum\\nmismatch"


class Deadly(Arrays):
    """Ends the process that reads it, as the lack of memory does."""

    def __getitem__(self, index):
        import os

        os._exit(9)


def test_processes_change_nothing():
    images = np.random.default_rng(0).integers(0, 256, (1_000, 9, 7, 3)).astype(np.uint8)
    source = Arrays(images, np.arange(1_000) % 7)
    one, three = (reading.joined(list(reading.read(source, processes))) for processes in (1, 3))
    assert one.facts.tobytes() == three.facts.tobytes()
    assert one.sums.tobytes() == three.sums.tobytes()
    assert one.classes.tolist() == three.classes.tolist()


@pytest.mark.slow
def test_a_process_that_dies_is_a_line():
    started = time.monotonic()
    with pytest.raises(UserError, match="processes died, out of memory perhaps"):
        list(reading.read(Deadly(np.zeros((600, 8, 8), np.uint8), [0] * 600), 2))
    assert time.monotonic() - started < 60
