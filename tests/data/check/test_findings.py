import flawed
import numpy as np
import pytest

from vit_jax.data.check import reading
from vit_jax.data.check.findings import ERROR, NOTE, WARNING, findings
from vit_jax.data.examples import Example

NAMES = ("cat", "dog", "emu")


class Held:
    """A source of (image, label) that are given; images are pictures or encoded files."""

    class_names = NAMES
    most_labels = None

    def __init__(self, *examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        image, label = self.examples[index]
        return Example(image if isinstance(image, bytes) else np.asarray(image), label, f"{index}")


def found(image_size=None, alike=0.93, **splits):
    surveys = {name: reading.joined(list(reading.read(Held(*examples)))) for name, examples in splits.items()}
    return {each.kind: each for each in findings(surveys, NAMES, image_size, alike)}


def strangers(count, first=0):
    """So many different pictures, their labels in turn."""
    return [(flawed.picture(seed), seed % 3) for seed in range(first, first + count)]


def test_nothing_is_found_where_nothing_is():
    assert found(train=strangers(60), test=strangers(12, 60)) == {}


def test_copies_within_and_across_splits():
    train, test = strangers(60), strangers(12, 60)
    bitmap = flawed.saved(train[4][0], "BMP")
    got = found(train=[*train, train[2]], val=test, test=[(bitmap, train[4][1]), *strangers(6, 80), test[0]])
    assert set(got) == {"copies", "leakage"}
    assert got["copies"].images.tolist() == [[2, 60]] and got["copies"].level == WARNING
    assert got["copies"].says == "pair of copies within train"
    assert got["leakage"].level == ERROR, "of two such findings, the last one is at hand here"
    assert got["leakage"].images.tolist() == [[61, 80]]
    assert got["leakage"].says == "pair of copies in val and test"


def test_one_image_under_two_labels():
    train = strangers(60)
    got = found(train=[*train, (train[2][0], 0)])
    assert got["conflict"].images.tolist() == [[2, 60]] and got["conflict"].level == ERROR


@pytest.mark.parametrize("copy", flawed.COPIES)
def test_near_copies_across_splits_are_leakage(copy):
    train, test = strangers(60), strangers(12, 60)
    image, label = train[7]
    got = found(train=train, test=[*test, (flawed.COPIES[copy](image), label)])
    assert set(got) == {"near_leakage"}
    assert got["near_leakage"].images.tolist() == [[7, 72]] and got["near_leakage"].level == ERROR
    assert 0.93 <= got["near_leakage"].alike[0] <= 1.00001


def test_near_copies_within_a_split_and_under_two_labels():
    train = strangers(60)
    copy = flawed.COPIES["quality_50"](train[7][0])
    got = found(train=[*train, (copy, 0)])
    assert set(got) == {"near_copies", "near_conflict"}
    assert {each.level for each in got.values()} == {WARNING}
    assert found(train=[*train, (copy, 0)], alike=1.01) == {}


def test_the_pairs_that_are_most_alike_come_first():
    train = strangers(60)
    copies = [(flawed.COPIES[name](train[7][0]), 1) for name in ("cropped", "quality_50", "grey")]
    alike = found(train=train, test=copies)["near_leakage"].alike
    assert (np.diff(alike) <= 0).all() and len(alike) == 3


def test_classes_that_are_empty_few_or_uneven():
    train = [(image, 0) for image, _ in strangers(90)] + [(image, 1) for image, _ in strangers(9, 90)]
    got = found(train=train, test=strangers(2, 200))
    assert set(got) == {"empty_class", "few", "imbalance"}
    assert got["few"].classes == ["dog"] and got["few"].level == WARNING
    assert got["imbalance"].count == 10 and got["imbalance"].classes == ["cat", "dog"]
    surveys = {"train": reading.joined(list(reading.read(Held(*train))))}
    (empty,) = [each for each in findings(surveys, NAMES) if each.kind == "empty_class"]
    assert empty.level == ERROR and empty.classes == ["emu"], "in what is learned from it is an error"
    assert got["empty_class"].level == WARNING, "in what is examined on it is not"


def test_images_smaller_than_the_model_sees():
    got = found((120, 161), train=strangers(60))
    assert got["enlarged"].count == 60 and got["enlarged"].level == NOTE
    assert found((120, 160), train=strangers(60)) == {}


def test_the_gravest_come_first_and_lost_images_are_no_copies():
    grey = flawed.saved(flawed.picture(500).convert("L"), "JPEG")
    files = [(content, 0) for content in (b"", b"", flawed.FILES["text.png"], grey)]
    surveys = {"train": reading.joined(list(reading.read(Held(*strangers(60), *files))))}
    got = findings(surveys, NAMES)
    assert [(each.kind, each.level, each.count) for each in got] == [
        ("not_an_image", ERROR, 3),
        ("grey", NOTE, 1),
    ]
    assert got[0].images.ravel().tolist() == [60, 61, 62]
