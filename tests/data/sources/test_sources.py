import collections
import hashlib
import io
import json
import shutil
import subprocess
import sys

import builders
import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_digits

from vit_jax.data import sources
from vit_jax.data.examples import Arrays
from vit_jax.data.sources.splits import sliced
from vit_jax.errors import UserError


def pixels(source):
    return [example.image.tobytes() for example in source]


def numbered(size, classes=1):
    """Images that hold their own number, sorted by class."""
    images = np.broadcast_to(np.arange(size, dtype=np.uint8)[:, None, None], (size, 2, 2))
    return images, np.arange(size) * classes // size


def test_digits_are_scikit_learns_each_once():
    table = load_digits()
    theirs = zip((table.images * 255 / 16).round().astype(np.uint8), table.target.tolist(), strict=True)
    ours = [example for split in ("train", "val", "test") for example in sources.build("digits", split)]
    assert collections.Counter((example.image.tobytes(), example.label) for example in ours) == collections.Counter(
        (image.tobytes(), label) for image, label in theirs
    )
    assert max(example.image.max() for example in ours) == 255


@pytest.mark.parametrize(("split", "fewest", "most", "size"), [("test", 50, 50, 500), ("val", 20, 20, 200)])
def test_digits_are_examined_evenly(split, fewest, most, size):
    source = sources.build("digits", split)
    counts = collections.Counter(example.label for example in source)
    assert (len(source), min(counts.values()), max(counts.values())) == (size, fewest, most)
    assert len(counts) == 10


def test_digits_splits_are_the_same_for_good():
    """Written down once: figures reported on a split must never meet another."""
    digests = [
        hashlib.sha256(b"".join(pixels(sources.build("digits", split)))).hexdigest()[:16]
        for split in ("train", "val", "test")
    ]
    assert digests == ["44c91ee7aa2f98c9", "2706c774d32c6524", "421a66ba5edc1422"]


def test_digits_label_budgets_are_balanced_and_nested():
    small, large, whole = (pixels(sources.build("digits", "train", labels=labels)) for labels in (100, 400, 0))
    assert (len(small), len(large), len(whole)) == (100, 400, 1097)
    assert small == large[:100]
    assert large == whole[:400]
    labels = [example.label for example in sources.build("digits", "train", labels=100)]
    assert collections.Counter(labels) == dict.fromkeys(range(10), 10)
    assert len(sources.build("digits", "test", labels=100)) == 500


def test_slices_of_a_split_are_fair_and_share_nothing():
    images, labels = numbered(200, classes=4)
    build = sliced(lambda split: Arrays(images, labels))

    def numbers(split):
        return [int(example.image[0, 0]) for example in build(split)]

    first, rest = numbers("train[:90%]"), numbers("train[90%:]")
    assert (len(first), len(rest)) == (180, 20)
    assert sorted(first + rest) == list(range(200)) == numbers("train")
    assert set(numbers("train[:20]")) < set(first)
    assert numbers("train[20:180]") == numbers("train[10%:90%]")
    assert {example.label for example in build("train[90%:]")} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train[:98%", "cannot read split"),
        ("train[98%]", "cannot read split"),
        ("train[:5000]", "reaches 5000, but there are 1097"),
        ("train[:101%]", "reaches 101%"),
        ("train[50%:50%]", "is empty"),
        ("validation", 'no split "validation"'),
    ],
)
def test_splits_that_make_no_sense(split, message):
    with pytest.raises(UserError, match=message):
        sources.build("digits", split)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("digit", {}, 'Did you mean "digits"'),
        ("digits", {"label": 100}, 'reads no "label". Did you mean "labels"'),
        ("digits", {"labels": 1098}, "1097 training examples, not 1098"),
        ("folder", {}, "path"),
        ("folder", {"path": ""}, "no path; say where it is"),
        ("huggingface", {"path": ""}, "no path; say where it is"),
        ("tfds", {"name": ""}, 'tfds cannot read ""'),
        ("tfds", {"name": "cifar10:3"}, 'tfds cannot read "cifar10:3"'),
        ("fractals", {"classes": 2, "per_class": 2, "image_size": (8, "x")}, "a whole number; got 'x'"),
        ("fractals", {"classes": 2, "per_class": 2, "image_size": (8, 8), "seed": -1}, "seed is -1; give 0 or more"),
        ("folder", {"pth": "/"}, 'reads no "pth". Did you mean "path"'),
        ("fractals", {"classes": 2, "per_class": 2, "image_sizes": (8, 8)}, 'Did you mean "image_size"'),
        ("tfds", {"name": "x", "datadir": "y"}, 'Did you mean "data_dir"'),
    ],
)
def test_unknown_kinds_and_options_name_the_nearest(kind, options, message):
    with pytest.raises(UserError, match=message):
        sources.build(kind, "train", **options)


def test_arrays_from_an_archive(tmp_path):
    images, labels = numbered(10, classes=2)
    np.savez(tmp_path / "one.npz", images=images, labels=labels, class_names=["cat", "dog"])
    source = sources.build("arrays", "all", path=str(tmp_path / "one.npz"))
    assert source.class_names == ("cat", "dog")
    assert [(int(example.image[0, 0]), example.label) for example in source] == [(i, i // 5) for i in range(10)]
    assert len(sources.build("arrays", "all[:80%]", path=str(tmp_path / "one.npz"))) == 8
    with pytest.raises(UserError, match="no train_images and train_labels; it has the split all"):
        sources.build("arrays", "train", path=str(tmp_path / "one.npz"))

    archive = {"train_images": images, "train_labels": labels, "test_images": images[:3], "test_labels": labels[:3]}
    np.savez(tmp_path / "two.npz", **archive)
    test = sources.build("arrays", "test", path=str(tmp_path / "two.npz"))
    assert len(test) == 3
    assert test.class_names == ("0", "1"), "the test split has class 0 only, but both splits must agree"
    with pytest.raises(UserError, match="it has the split train, test"):
        sources.build("arrays", "val", path=str(tmp_path / "two.npz"))


def test_archives_that_cannot_be_read(tmp_path):
    path = tmp_path / "file.npz"
    with pytest.raises(UserError, match="does not exist"):
        sources.build("arrays", "all", path=str(path))
    path.write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match=r"is no \.npz archive"):
        sources.build("arrays", "all", path=str(path))
    np.savez(path, images=np.array([{}], object), labels=[0])
    with pytest.raises(UserError, match=r"is no \.npz archive"):
        sources.build("arrays", "all", path=str(path))
    np.savez(path, images=np.zeros((1, 4, 4), np.uint8), labels=["cat"])
    with pytest.raises(UserError, match="give one integer for each of 1 images"):
        sources.build("arrays", "all", path=str(path))
    np.savez(path, picture=np.zeros(3))
    with pytest.raises(UserError, match="it holds picture"):
        sources.build("arrays", "all", path=str(path))


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (np.zeros((2, 4, 4), np.float32), [0, 1], None, r"images are float32 \(2, 4, 4\)"),
        (np.zeros((2, 4, 4, 2), np.uint8), [0, 1], None, "with 1, 3 or 4 channels"),
        (np.zeros((2, 4, 4), np.uint8), [0], None, r"labels are int64 \(1,\)"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2), None, "labels are float64"),
        (np.zeros((2, 4, 4), np.uint8), [0, 2], ["a", "b"], r"they must lie in 0\.\.1"),
        (np.zeros((2, 4, 4), np.uint8), [0, -1], None, "labels run from -1"),
        (np.zeros((0, 4, 4), np.uint8), np.zeros(0, int), None, "there is no image"),
    ],
)
def test_arrays_that_do_not_fit_together(images, labels, names, message):
    with pytest.raises(UserError, match=message):
        Arrays(images, labels, names)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A tfds dataset `small`, 20 + 5 PNG images, prepared as ArrayRecord; returns its data_dir."""
    folder = tmp_path_factory.mktemp("tfds")
    builders.prepared(folder)
    return folder


def test_tfds_gives_encoded_images_without_tensorflow(prepared):
    source = sources.build("tfds", "train", name="small", data_dir=str(prepared))
    assert source.class_names == ("cat", "dog")
    assert isinstance(source[3].image, bytes)
    numbers = [np.asarray(PIL.Image.open(io.BytesIO(example.image)))[0, 0, 0] for example in source]
    assert sorted(numbers) == list(range(20))
    assert [example.label for example in source] == [number % 2 for number in numbers]
    parts = [
        sources.build("tfds", f"train{part}", name="small", data_dir=str(prepared)) for part in ("[:75%]", "[75%:]")
    ]
    assert [len(part) for part in parts] == [15, 5]
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        ("valid", {}, "Unknown split 'valid'"),
        ("train[:500]", {}, "slice .* incompatible with 20 examples"),
        ("train", {"image": "imge"}, 'has no "imge". Did you mean "image"'),
        ("train", {"label": "number"}, "name the key of a single class label"),
        ("train", {"name": "small_images_of_mine"}, "knows no dataset"),
        (
            "train",
            {"name": "cifar10"},
            r"prepare it: \./run\.sh data prepare --tfds=cifar10 --data-dir=/",
        ),
    ],
)
def test_tfds_that_cannot_be_read(prepared, split, options, message):
    with pytest.raises(UserError, match=message) as raised:
        sources.build("tfds", split, **{"name": "small", "data_dir": str(prepared)} | options)
    assert "\n" not in str(raised.value)


def test_tfds_prepared_as_tfrecord_says_what_to_do(prepared, tmp_path):
    shutil.copytree(prepared / "small", tmp_path / "small")
    info = tmp_path / "small" / "1.0.0" / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"}))
    with pytest.raises(
        UserError, match=r"has no random access; convert it once: .* data prepare --tfrecord=/.*/small/1"
    ):
        sources.build("tfds", "train", name="small", data_dir=str(tmp_path))


def test_no_source_costs_the_libraries_of_another():
    heavy = ["sklearn", "tensorflow", "tensorflow_datasets", "torch", "grain"]
    program = f"import sys, vit_jax.data.sources; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_tfds_without_a_folder_looks_in_its_own():
    """As the configs ask for it: data_dir "" is not the working directory."""
    with pytest.raises(UserError, match="tensorflow_datasets/plant_leaves"):
        sources.build("tfds", "train", name="plant_leaves", data_dir="")
