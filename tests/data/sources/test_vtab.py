"""VTAB-1k: labels made from records, splits of 800 and 200, one task through a real tfds dataset."""

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest

from vit_jax.data import sources
from vit_jax.data.images.decode import decode
from vit_jax.data.sources.tfds import class_names_of
from vit_jax.data.sources.vtab import TASKS, closest_object, closest_vehicle, object_count
from vit_jax.errors import UserError


def test_the_nineteen():
    """arXiv 1910.04867, table 1: seven, four and eight."""
    groups = [task.group for task in TASKS.values()]
    assert [groups.count(group) for group in ("natural", "specialized", "structured")] == [7, 4, 8]


# arXiv 1910.04867, table 2; dSprites and KITTI as google-research/task_adaptation bins them.
CLASSES = {
    "caltech101": 102,
    "cifar100": 100,
    "dtd": 47,
    "flowers102": 102,
    "pets": 37,
    "sun397": 397,
    "svhn": 10,
    "patch_camelyon": 2,
    "eurosat": 10,
    "resisc45": 45,
    "retinopathy": 5,
    "clevr_count": 8,
    "clevr_distance": 6,
    "dmlab": 6,
    "kitti_distance": 4,
    "dsprites_location": 16,
    "dsprites_orientation": 16,
    "norb_azimuth": 18,
    "norb_elevation": 9,
}


def test_each_is_in_the_catalogue_with_its_classes(tmp_path):
    import tensorflow_datasets as tfds

    found = {}
    for name, task in TASKS.items():
        builder: Any = tfds.builder(task.name, data_dir=tmp_path)
        found[name] = task.classes if task.label else len(class_names_of(builder, task.name, task.key))
        assert "image" in builder.info.features
    assert found == CLASSES


# Sizes of the catalogue; begins of `val` and `test` as other published configs write them, in numbers of records.
@pytest.mark.parametrize(
    ("task", "size", "val", "test"),
    [
        ("cifar100", 50_000, 45_000, None),
        ("pets", 3_680, 2_944, None),
        ("svhn", 73_257, 65_931, None),
        ("clevr_count", 70_000, 63_000, None),
        ("eurosat", 27_000, 16_200, 21_600),
        ("resisc45", 31_500, 18_900, 25_200),
        ("dsprites_location", 737_280, 589_824, 663_552),
    ],
)
def test_percents_cut_where_the_published_splits_do(task: str, size: int, val: int, test: int | None):
    from tensorflow_datasets.core import splits

    train = splits.SplitInfo(name="train", shard_lengths=[size], num_bytes=0, filename_template=None)

    def bounds(words: str) -> tuple[int | None, int | None]:
        (part,) = splits.AbstractSplit.from_spec(words).to_absolute({"train": train})
        return part.from_ or 0, part.to or size

    assert bounds(TASKS[task].train) == (0, val)
    assert bounds(TASKS[task].val) == (val, test or size)
    if test:
        assert bounds(TASKS[task].test) == (test, size)
    else:
        assert not TASKS[task].test.startswith("train")


@pytest.mark.parametrize(("count", "label"), [(3, 0), (10, 7)])
def test_objects_are_counted_from_three(count: int, label: int):
    assert object_count({"objects": {"size": np.zeros(count)}}) == label


@pytest.mark.parametrize(
    ("closest", "label"),
    [
        *[(7.9, 0), (8.0, 0), (8.1, 1), (8.4, 1), (8.6, 2), (8.9, 2)],
        *[(9.1, 3), (9.4, 3), (9.6, 4), (10.0, 4), (10.1, 5), (40.0, 5)],
    ],
)
def test_the_depth_of_the_closest_object(closest: float, label: int):
    coordinates = np.array([[0.0, 0.0, 50.0], [1.0, 2.0, closest], [0.0, 0.0, 60.0]])
    assert closest_object({"objects": {"pixel_coords": coordinates}}) == label


@pytest.mark.parametrize(
    ("kinds", "depths", "label"),
    [
        ([0, 4], [7.9, 1.0], 0),  # a car, and a cyclist who is closer
        ([2, 1], [30.0, 8.1], 1),
        ([0], [8.0], 0),
        ([1], [20.0], 1),
        ([0], [20.1], 2),
        ([3, 7], [1.0, 2.0], 3),  # no vehicle
        ([], [], 3),  # nothing at all
    ],
)
def test_the_distance_of_the_closest_vehicle(kinds, depths, label: int):
    location = np.zeros((len(kinds), 3))
    location[:, 2] = depths
    assert closest_vehicle({"objects": {"type": np.array(kinds), "location": location}}) == label


@pytest.mark.parametrize(
    ("task", "key", "values"),
    [("dsprites_location", "label_x_position", 32), ("dsprites_orientation", "label_orientation", 40)],
)
def test_neighbouring_values_make_sixteen_classes(task: str, key: str, values: int):
    label = TASKS[task].label
    assert label
    classes = [label({key: value}) for value in range(values)]
    assert sorted(set(classes)) == list(range(16)) and classes == sorted(classes)
    assert {classes.count(each) for each in range(16)} == ({2} if values == 32 else {2, 3})


def png(pixels: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    file.seek(0)
    return file


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """CLEVR as tfds has it, but small: 1,103 images whose pixels are their number modulo 200, of 3 to 10 objects."""
    import tensorflow_datasets as tfds

    class Clevr(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("3.1.0")

        def _info(self):
            objects = tfds.features.Sequence(
                {"size": np.int64, "pixel_coords": tfds.features.Tensor(shape=(3,), dtype=np.float32)}
            )
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "objects": objects})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(1100), "validation": self._generate_examples(3)}

        def _generate_examples(self, count):
            for number in range(count):
                file = png(np.full((2, 2, 3), number % 200, np.uint8))
                each = {"size": 0, "pixel_coords": np.array([0, 0, 7.8 + number % 5 / 2], np.float32)}
                yield number, {"image": file, "objects": [each] * (3 + number % 8)}

    folder = tmp_path_factory.mktemp("vtab")
    tfds.disable_progress_bar()
    Clevr(data_dir=folder, file_format="array_record").download_and_prepare()
    return str(folder)


def number_of(example) -> int:
    return int(np.asarray(PIL.Image.open(io.BytesIO(example.image)))[0, 0, 0])


def test_a_task_through_its_data_set(data_dir: str):
    train, val, whole = (
        sources.build("vtab", split, task="clevr_count", data_dir=data_dir) for split in ("train", "val", "train800")
    )
    assert (len(train), len(val), len(whole)) == (990, 110, 800)
    assert [whole[i].name for i in (0, 799)] == [train[i].name for i in (0, 799)]
    assert all(train[i].label == number_of(train[i]) % 8 for i in range(0, 990, 50))
    assert train.class_names == tuple("01234567")
    test = sources.build("vtab", "test", task="clevr_distance", data_dir=data_dir)
    assert sorted((number_of(example), example.label) for example in test) == [(0, 0), (1, 1), (2, 2)]  # 7.8, 8.3, 8.8


def test_what_is_not_there_is_said(data_dir: str):
    with pytest.raises(UserError, match="takes 200 of 110 images; is the data whole"):
        sources.build("vtab", "train800val200", task="clevr_count", data_dir=data_dir)
    with pytest.raises(UserError, match='no split "train80". Did you mean "train800"'):
        sources.build("vtab", "train80", task="clevr_count", data_dir=data_dir)
    with pytest.raises(UserError, match='unknown task of VTAB "clevr". Did you mean "clevr_'):
        sources.build("vtab", "test", task="clevr", data_dir=data_dir)
    with pytest.raises(UserError, match=r"data prepare --tfds='svhn_cropped:3\.\*\.\*' --data-dir="):
        sources.build("vtab", "test", task="svhn", data_dir=data_dir)


def test_sprites_are_white_and_cut_as_published(tmp_path):
    """2,000 of them: 800 and then 200 from the eightieth percent on, as tfds itself reads those words."""
    import tensorflow_datasets as tfds

    class Dsprites(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("2.0.0")

        def _info(self):
            position = tfds.features.ClassLabel(num_classes=32)
            image = tfds.features.Image(shape=(2, 2, 1))
            features = tfds.features.FeaturesDict({"image": image, "label_x_position": position, "number": np.int64})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number in range(2_000):
                image = png(np.array([[1, 0], [0, 1]], np.uint8))
                yield number, {"image": image, "label_x_position": number % 32, "number": number}

    tfds.disable_progress_bar()
    builder: Any = Dsprites(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    source = sources.build("vtab", "train800val200", task="dsprites_location", data_dir=str(tmp_path))
    published = builder.as_data_source(split="train[:800]+train[1600:1800]")
    assert [source[i].label for i in range(1000)] == [int(published[i]["number"]) % 32 // 2 for i in range(1000)]
    test = sources.build("vtab", "test", task="dsprites_location", data_dir=str(tmp_path))
    assert len(test) == 200
    picture = np.asarray(decode(source[0].image, source[0].name))
    np.testing.assert_array_equal(picture[..., 1], [[255, 0], [0, 255]])


def test_a_version_that_nobody_has_is_said():
    with pytest.raises(UserError, match=r"kitti cannot be loaded at version 9\.9\.9, only: 3"):
        sources.build("tfds", "test", name="kitti:9.9.9")
