"""Hugging Face datasets, written by their own library; nothing is asked of the Hub."""

import importlib.util
import io
import json
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
import pytest

from vit_jax.data import sources
from vit_jax.data.examples import labels_of
from vit_jax.data.images.decode import decode
from vit_jax.data.unreadable import UnreadableImageError
from vit_jax.errors import UserError

TAGS = [[0, 1], [], [2], [1], [0, 2], [2], [], [1]]


def png(number):
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((4, 5, 3), number, np.uint8)).save(file, "PNG")
    return file.getvalue()


def number_of(example):
    return int(np.asarray(decode(example.image, example.name))[0, 0, 0])


def build(path, split="train", **options):
    return sources.build("huggingface", split, path=str(path), **options)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        yield


@pytest.fixture(scope="module")
def rows():
    """A dataset of 8 images, each full of its own number, and many kinds of labels."""
    import datasets

    columns = {
        "image": (datasets.Image(), [{"bytes": png(i), "path": f"{i}.png"} for i in range(8)]),
        "label": (datasets.ClassLabel(names=["1", "0"]), [i % 2 for i in range(8)]),
        "tags": (datasets.Sequence(datasets.ClassLabel(names=["x", "y", "z"])), TAGS),
        "word": (datasets.Value("string"), [["dog", "cat"][i % 2] for i in range(8)]),
        "number": (datasets.Value("int64"), [i // 3 for i in range(8)]),
        "words": (datasets.Sequence(datasets.Value("string")), [["xyz"[tag] for tag in tags] for tags in TAGS]),
        "share": (datasets.Value("float64"), [0.5] * 8),
        "untagged": (datasets.Sequence(datasets.ClassLabel(names=["x", "y"])), [[0, 1]] * 7 + [[-1]]),
        "unknown": (datasets.ClassLabel(names=["a"]), [0] * 7 + [-1]),
    }
    features = datasets.Features({name: feature for name, (feature, _) in columns.items()})
    return datasets.Dataset.from_dict({name: values for name, (_, values) in columns.items()}, features=features)


@pytest.fixture(scope="module")
def saved(rows, tmp_path_factory):
    import datasets

    folder = tmp_path_factory.mktemp("saved")
    parts = {"train": rows.select(range(6)), "validation": rows.select(range(6, 8))}
    datasets.DatasetDict(parts).save_to_disk(folder / "both")
    rows.save_to_disk(folder / "one")
    rows.to_parquet(folder / "parquet" / "train.parquet")
    return folder


@pytest.mark.parity
def test_a_saved_dataset(saved):
    train, val = build(saved / "both"), build(saved / "both", "val")
    assert [number_of(train[index]) for index in range(6)] == list(range(6))
    assert [number_of(val[index]) for index in range(2)] == [6, 7]
    assert labels_of(train).tolist() == [0, 1, 0, 1, 0, 1] == [train[index].label for index in range(6)]
    assert (train.class_names, train.most_labels) == (("1", "0"), None)
    assert train[2].image == png(2) and train[2].name == f"{saved}/both train[2]"
    assert len(build(saved / "one", "all")) == 8 and len(build(saved / "one", "all[:50%]")) == 4
    with pytest.raises(IndexError):
        train[6]


@pytest.mark.parity
def test_a_row_without_an_image_is_unreadable(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    rows = {"image": [{"bytes": png(0), "path": None}, None], "label": ["cat", "dog"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path)
    source = build(tmp_path, "all")
    assert (number_of(source[0]), source.class_names) == (0, ("cat", "dog"))
    with pytest.raises(UnreadableImageError, match=r"all\[1\]\" has no image"):
        source[1]


@pytest.mark.parity
def test_labels_of_every_kind(saved):
    def held(label, **options):
        source = build(saved / "both", "val", label=label, **options)
        labels = [source.labels_by_image[index] for index in range(2)]
        return source.class_names, labels, source.most_labels

    assert held("tags") == (("x", "y", "z"), [(), (1,)], 2)
    assert held("words") == (("x", "y", "z"), [(), (1,)], 2)
    assert held("word") == (("cat", "dog"), [1, 0], None)
    assert held("number") == (("0", "1", "2"), [2, 2], None)
    assert held("number", class_names=["a", "b", "c"]) == (("a", "b", "c"), [2, 2], None)
    tagged = build(saved / "both", label="tags")
    assert [tagged[index].label for index in range(6)] == [tuple(tags) for tags in TAGS[:6]]


@pytest.mark.parity
def test_parquet_and_folders_of_images_as_the_hub_has_them(saved, tmp_path):
    parquet = build(saved / "parquet", label="tags")
    assert [number_of(parquet[index]) for index in range(8)] == list(range(8))
    assert (parquet.class_names, parquet[0].label) == (("x", "y", "z"), (0, 1))

    for split, numbers in (("train", range(4)), ("test", range(4, 6))):
        (tmp_path / split).mkdir()
        lines = [json.dumps({"file_name": f"{i}.png", "label": ["dog", "cat"][i % 2]}) for i in numbers]
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(lines))
        for number in numbers:
            (tmp_path / split / f"{number}.png").write_bytes(png(number))
    for split in ("train", "test"):
        theirs, ours = build(tmp_path, split), sources.build("table", split, path=str(tmp_path))
        rows = [[(one.image, one.label) for one in map(each.__getitem__, range(len(each)))] for each in (theirs, ours)]
        assert rows[0] == rows[1] and theirs.class_names == ours.class_names == ("cat", "dog")


@pytest.mark.parity
def test_it_goes_to_threads_and_processes(saved):
    source = build(saved / "both", label="tags")
    packed = pickle.dumps(source)
    assert len(packed) < 10_000
    expected = [source[index] for index in range(6)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(source.__getitem__, list(range(6)) * 50)) == expected * 50
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(source.__getitem__, range(6)) == expected
    program = (
        f"import pickle, sys; pickle.loads({packed!r})[0]; print({{'flax', 'torch', 'tensorflow'}} & {{*sys.modules}})"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"


@pytest.mark.parity
@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("both", {"split": "test"}, 'has no split "test", only train, validation; cut one'),
        ("both", {"image": "img"}, 'has no column "img".* Did you mean "image"'),
        ("both", {"label": "labels"}, 'has no column "labels".* Did you mean "label"'),
        ("both", {"image": "share"}, '"share" of ".*" is Value.*; name a column of images'),
        ("both", {"label": "share"}, r'"share" of ".*train\[0\]" is 0.5; give a class name'),
        ("both", {"label": "unknown", "split": "val"}, r'validation\[1\]" has the label -1; take such rows out'),
        ("both", {"label": "untagged"}, r'validation\[1\]" has the label \[-1\]; take'),
        ("both", {"class_names": ["a", "b"]}, "names its 2 classes itself; leave class_names out"),
        ("both", {"name": "large"}, 'has no "large"; leave name= out'),
        ("parquet", {"name": "large"}, "cannot read the dataset .*large"),
        ("nowhere", {}, "does not exist; give a folder, or the name"),
    ],
)
def test_a_mistake_is_a_line(saved, path, options, message):
    with pytest.raises(UserError, match=message) as raised:
        build(saved / path, **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parity
def test_a_name_that_cannot_be_asked_of_the_hub_is_a_line():
    with pytest.raises(UserError, match='cannot read the dataset "nobody/nothing": .*Hub'):
        build("nobody/nothing")


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="the library is installed")
def test_without_the_library_it_says_what_to_install():
    with pytest.raises(UserError, match=r"install the extra \[huggingface\]"):
        build("imagenet-1k")
