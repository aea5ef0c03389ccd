import numpy as np
import PIL.Image
import pytest

from vit_jax.data import sources
from vit_jax.errors import UserError


def plant(root, *files):
    """Writes an image at each path; its bytes hold the path, to be recognised by."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image " + file.encode())


def found(root, split):
    """What a split holds: relative path -> class name."""
    source = sources.build("folder", split, path=str(root))
    return {example.image.decode().removeprefix("image "): source.class_names[example.label] for example in source}


def many(count):
    return [f"{name}/{number:03}.jpg" for name in ("cat", "dog") for number in range(count)]


def test_class_folders_without_splits(tmp_path):
    plant(tmp_path, "dog/a.jpg", "cat/b.JPEG", "cat/deep/er/c.png", "cat/notes.txt", "cat/.d.jpg", ".git/e.jpg")
    plant(tmp_path, "cat/.hidden/f.png", "readme.md")
    assert sources.build("folder", "all", path=str(tmp_path)).class_names == ("cat", "dog")
    assert found(tmp_path, "all") == {"cat/b.JPEG": "cat", "cat/deep/er/c.png": "cat", "dog/a.jpg": "dog"}


def test_the_hold_out_is_a_tenth_and_new_images_move_none(tmp_path):
    plant(tmp_path, *many(300))
    train, val = found(tmp_path, "train"), found(tmp_path, "val")
    assert sorted([*train, *val]) == many(300)
    assert 35 < len(val) < 85, "60 expected, with a standard deviation of 7"
    plant(tmp_path, "ant/1.jpg", "cat/000b.jpg", "dog/new.png")
    assert set(train) < set(found(tmp_path, "train")) | {"never"}
    assert set(val) <= set(found(tmp_path, "val"))
    assert len(found(tmp_path, "train")) + len(found(tmp_path, "val")) == 603


def test_the_hold_out_is_the_same_for_good(tmp_path):
    """The first images of each class that are held out, written down once: users' splits must never move."""
    plant(tmp_path, *many(40))
    assert list(found(tmp_path, "val")) == [
        "cat/014.jpg",
        "cat/017.jpg",
        "cat/028.jpg",
        "dog/019.jpg",
        "dog/020.jpg",
        "dog/024.jpg",
        "dog/037.jpg",
    ]


def test_split_folders(tmp_path):
    plant(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "validation/dog/c.jpg", "test/cat/d.jpg", "test/dog/x/e.jpg")
    assert found(tmp_path, "train") == {"train/cat/a.jpg": "cat", "train/dog/b.jpg": "dog"}
    assert found(tmp_path, "val") == {"validation/dog/c.jpg": "dog"}
    assert found(tmp_path, "test") == {"test/cat/d.jpg": "cat", "test/dog/x/e.jpg": "dog"}
    with pytest.raises(UserError, match='no split "all", only test, train, val'):
        found(tmp_path, "all")


def test_train_is_whole_where_there_is_no_val(tmp_path):
    plant(tmp_path, *(f"train/{file}" for file in many(50)), "test/cat/a.jpg")
    assert len(found(tmp_path, "train")) == 100
    with pytest.raises(UserError, match=r"hold out a part of train as train\[:90%\]"):
        found(tmp_path, "val")
    assert not set(found(tmp_path, "train[:90%]")) & set(found(tmp_path, "train[90%:]"))
    assert len(found(tmp_path, "train[90%:]")) == 10


def test_a_class_may_be_called_train(tmp_path):
    plant(tmp_path, "bus/a.jpg", "car/b.jpg", "train/c.jpg")
    assert sources.build("folder", "all", path=str(tmp_path)).class_names == ("bus", "car", "train")


def test_a_test_folder_alone_can_be_evaluated(tmp_path):
    plant(tmp_path, "val/cat/a.jpg", "val/dog/b.jpg")
    assert found(tmp_path, "val") == {"val/cat/a.jpg": "cat", "val/dog/b.jpg": "dog"}


@pytest.mark.parametrize(
    ("files", "empty", "split", "message"),
    [
        ([], "", "train", "is empty; put images in it, a folder for each class"),
        (["a.jpg", "b.jpg"], "", "train", "side by side; put those of each class in a folder of their own"),
        (["train/a.jpg", "val/b.jpg"], "", "train", 'train" has its images side by side'),
        (["cat/a.jpg"], "dog", "train", r'class folder ".*/dog" has no image'),
        (["cat/a.jpg", "dog/a.txt"], "", "all", r'class folder ".*/dog" has no image'),
        (["cat/a.jpg"], "", "test", 'no folder "test"; make test/CLASS/ beside train/CLASS/'),
        (["cat/a.jpg"], "", "val", 'none of the 1 images in ".*" falls into "val"'),
        (["train/cat/a.jpg", "test/cow/b.jpg"], "", "test", 'test" has the class "cow", which train has not'),
        (
            ["train/a/1.jpg", "val/a/2.jpg", "valid/a/3.jpg"],
            "",
            "val",
            "has train, val, valid; keep one folder for each",
        ),
    ],
)
def test_folders_that_follow_no_layout(tmp_path, files, empty, split, message):
    plant(tmp_path, *files)
    (tmp_path / empty).mkdir(exist_ok=True)
    with pytest.raises(UserError, match=message) as raised:
        found(tmp_path, split)
    assert "\n" not in str(raised.value)


def test_paths_that_are_no_folder(tmp_path):
    plant(tmp_path, "a.jpg")
    with pytest.raises(UserError, match='nowhere" does not exist'):
        found(tmp_path / "nowhere", "train")
    with pytest.raises(UserError, match='a.jpg" is a file'):
        found(tmp_path / "a.jpg", "train")


def test_an_image_that_has_gone_is_named(tmp_path):
    PIL.Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "cat.png")
    plant(tmp_path / "all", "cat/a.jpg")
    source = sources.build("folder", "all", path=str(tmp_path / "all"))
    (tmp_path / "all/cat/a.jpg").unlink()
    with pytest.raises(UserError, match=r'"\S*cat/a\.jpg" does not exist'):
        source[0]


def test_a_class_without_images_is_one_where_that_is_said(tmp_path):
    plant(tmp_path, "train/cat/1.png", "train/emu/1.png", "val/cat/1.png")
    (tmp_path / "val" / "emu").mkdir()
    with pytest.raises(UserError, match='val/emu" has no image; add some or remove it'):
        sources.build("folder", "val", path=str(tmp_path))
    source = sources.build("folder", "val", path=str(tmp_path), empty_classes=True)
    assert (len(source), source.class_names) == (1, ("cat", "emu"))
