import fcntl
import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets
from array_record.python.array_record_module import ArrayRecordReader
from tensorflow_datasets.proto import tf_example_pb2

from vit_jax.__main__ import main
from vit_jax.data import sources
from vit_jax.data.examples import Arrays, Example
from vit_jax.data.images.decode import decode
from vit_jax.data.prepare import plan, records, work


def picture(seed, size=(12, 9), format="JPEG", **options):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.BICUBIC).save(file, format, **options)
    return file.getvalue()


@pytest.fixture
def photos(tmp_path):
    """20 images of two classes in train, 5 in val."""
    for split, count in (("train", 20), ("val", 5)):
        for i in range(count):
            file = tmp_path / "photos" / split / ("cat", "dog")[i % 2] / f"{i:02d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture(i))
    return tmp_path / "photos"


def command(photos, out, *options):
    return ["data", "prepare", f"--data={photos}", f"--out={out}", "--name=photos", "--shards=3", *options]


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def prepared(source, folder, short_side=0, skip_bad=False, shards=2):
    """Prepares a source as the split "train" in this process; returns the manifest."""
    settled = plan.settle("tiny", {"train": source}, {"kind": "test"}, short_side, skip_bad, shards)
    return work.prepare(settled, {"train": source}, folder, work.locally(1, lambda words: None))[0]


def raw(folder, manifest):
    """The records of "train" as tfds' own protocol buffers."""
    found = []
    for shard in manifest["splits"]["train"]["shards"]:
        reader = ArrayRecordReader(str(folder / shard["file"]))
        found += [tf_example_pb2.Example.FromString(record) for record in reader.read_all()]
    return [example.features.feature for example in found]


def test_tfds_and_our_reader_give_the_same_bytes_in_order(photos, tmp_path):
    assert main(command(photos, tmp_path / "out")) == 0
    builder = tensorflow_datasets.builder_from_directory(tmp_path / "out")
    for split in ("train", "val"):
        source = sources.build("folder", split, path=str(photos))
        assert builder.info.splits[split].num_examples == len(source)
        theirs = builder.as_data_source(split, decoders={"image": tensorflow_datasets.decode.SkipDecoding()})
        ours = sources.build("tfds", split, name="photos", data_dir=str(tmp_path / "out"))
        assert ours.class_names == ("cat", "dog")
        wanted = [(e.image, e.label, os.path.relpath(e.name, photos)) for e in source]
        assert [(r["image"], r["label"], r["file_name"].decode()) for r in theirs] == wanted
        assert [(e.image, e.label) for e in ours] == [(image, label) for image, label, _ in wanted]
        shards = sources.build("array_record", split, path=str(tmp_path / "out"))
        assert [(e.image, e.label, e.name) for e in shards] == wanted
        assert shards.class_names == ("cat", "dog")
    decoded = builder.as_data_source("train")[3]["image"]
    np.testing.assert_array_equal(decoded, np.asarray(PIL.Image.open(io.BytesIO(picture(6)))))
    assert "tensorflow" not in sys.modules


def test_the_manifest_vouches_for_every_file(photos, tmp_path):
    out = tmp_path / "out"
    main(command(photos, out))
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["layout"], manifest["name"], manifest["class_names"]) == (1, "photos", ["cat", "dog"])
    assert manifest["keys"] == {"image": "image", "label": "label", "name": "file_name"}
    named = {"manifest.json", "dataset_info.json", "features.json", "label.labels.txt"}
    for split, size in (("train", 20), ("val", 5)):
        found = manifest["splits"][split]
        assert [shard["examples"] for shard in found["shards"]] == [len(p) for p in np.array_split(range(size), 3)][
            ::-1
        ]
        for file in (found["labels"], *found["shards"]):
            content = (out / file["file"]).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
            named.add(file["file"])
        labels = np.load(out / f"{split}.labels.npy")
        assert labels.dtype == np.int32
        assert labels.tolist() == sources.build("folder", split, path=str(photos)).labels.tolist()
    assert named == {path.name for path in out.iterdir()}, "nothing unfinished is left"


def test_several_labels(tmp_path):
    class Several:
        class_names, most_labels = ("a", "b", "c"), 2

        def __len__(self):
            return 5

        def __getitem__(self, index):
            return Example(picture(index), ((), (1,), (0, 2), (2,), (1, 0))[index], f"{index}")

    manifest = prepared(Several(), tmp_path / "out")
    assert manifest["most_labels"] == 2
    assert np.load(tmp_path / "out" / "train.labels.npy").tolist() == [[-1, -1], [1, -1], [0, 2], [2, -1], [1, 0]]
    rows = raw(tmp_path / "out", manifest)
    assert [list(row["label"].int64_list.value) for row in rows] == [[], [1], [0, 2], [2], [1, 0]]
    theirs = tensorflow_datasets.builder_from_directory(tmp_path / "out").as_data_source("train")
    assert [list(record["label"]) for record in theirs] == [[], [1], [0, 2], [2], [1, 0]]
    ours = sources.build("array_record", "train", path=str(tmp_path / "out"))
    assert [example.label for example in ours] == [(), (1,), (0, 2), (2,), (1, 0)]
    (tmp_path / "out" / manifest["splits"]["train"]["shards"][1]["file"]).unlink()
    assert prepared(Several(), tmp_path / "out") == manifest


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_pixels_stay_the_same_pixels(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    source = Arrays(images, [0, 1, 0])
    manifest = prepared(source, tmp_path / "out")
    for i, row in enumerate(raw(tmp_path / "out", manifest)):
        stored = decode(row["image"].bytes_list.value[0], "stored")
        np.testing.assert_array_equal(np.asarray(stored), np.asarray(decode(source[i].image, "given")))


def upright(orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (picture(0, (64, 48)), (43, 32)),
        (picture(0, (48, 64)), (32, 43)),
        (picture(0, (64, 48), exif=upright(6)), (32, 43)),  # lies on its side
        (picture(0, (64, 48), "PNG"), (43, 32)),
        (picture(0, (33, 33), "WEBP"), (32, 32)),
        (np.zeros((48, 64), np.uint8), (43, 32)),
        (picture(0, (500, 33)), (485, 32)),
    ],
)
def test_large_images_are_shrunk_to_the_short_side(image, size):
    stored, shrunk = records.stored(Example(image, 0, "image"), 32)
    found = PIL.Image.open(io.BytesIO(stored))
    assert (shrunk, found.format, found.size, found.getexif().get(0x0112, 1)) == (True, "JPEG", size, 1)
    whole = decode(image, "image").resize(size, PIL.Image.Resampling.BICUBIC)
    difference = np.asarray(found.convert("L"), float) - np.asarray(whole.convert("L"), float)
    assert np.abs(difference).mean() < 1  # grey levels: quality 95


@pytest.mark.parametrize(
    "image",
    [picture(0, (90, 32)), picture(0, (9, 9), "GIF"), picture(0, (32, 64), exif=upright(8)), picture(0, (1, 1))],
)
def test_small_images_keep_their_bytes(image):
    assert records.stored(Example(image, 0, "image"), 32) == (image, False)
    assert records.stored(Example(picture(1, (64, 48)), 0, "image"), 0) == (picture(1, (64, 48)), False)


@pytest.mark.parametrize(("examples", "most_bytes", "wanted"), [(10, 10**9, 1), (10, 2500, 4), (10, 1, 10)])
def test_shards_are_as_large_as_they_should_be(monkeypatch, examples, most_bytes, wanted):
    class Equal:
        class_names, most_labels = ("a",), None

        def __len__(self):
            return examples

        def __getitem__(self, index):
            return Example(image, 0, str(index))

    image = picture(0, (20, 13), "BMP").ljust(1000, b"\0")
    monkeypatch.setattr(plan, "SHARD_BYTES", most_bytes)
    settled = plan.settle("tiny", {"train": Equal()}, {"kind": "test"}, 0, False, 0)
    assert settled.splits["train"].shards == wanted


def test_a_name_that_is_no_text(photos, tmp_path):
    odd = os.fsencode(photos / "train" / "cat") + b"/caf\xe9.jpg"
    Path(os.fsdecode(odd)).write_bytes(picture(3))
    main(command(photos, tmp_path / "out"))
    builder = tensorflow_datasets.builder_from_directory(tmp_path / "out")
    names = [record["file_name"].decode() for record in builder.as_data_source("train")]
    assert "train/cat/caf\\udce9.jpg" in names


def test_what_was_shrunk_is_counted(photos, tmp_path):
    (photos / "train" / "cat" / "00.jpg").write_bytes(picture(0, (40, 30)))
    main(command(photos, tmp_path / "out", "--short-side=9"))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [shard["shrunk"] for shard in manifest["splits"]["train"]["shards"]] == [1, 0, 0]
    source = sources.build("tfds", "train", name="photos", data_dir=str(tmp_path / "out"))
    assert PIL.Image.open(io.BytesIO(source[0].image)).size == (12, 9)
    assert source[1].image == picture(2)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [Path.unlink, damage, lambda path: path.write_bytes(b"")])
def test_only_what_is_missing_or_damaged_is_made_anew(photos, tmp_path, harm):
    out = tmp_path / "out"
    main(command(photos, out))
    before, shard = files_of(out), "photos-train.array_record-00001-of-00003"
    inodes = {path.name: path.stat().st_ino for path in out.glob("*.array_record*")}
    harm(out / shard)
    main(command(photos, out))
    assert files_of(out) == before
    changed = {path.name for path in out.glob("*.array_record*") if path.stat().st_ino != inodes[path.name]}
    assert changed == {shard}
    harm(out / "train.labels.npy")
    main(command(photos, out))
    assert files_of(out) == before


def test_a_finished_folder_is_looked_through_and_left_alone(photos, tmp_path, capsys):
    out = tmp_path / "out"
    main(command(photos, out))
    inodes = {path.name: path.stat().st_ino for path in out.iterdir()}
    main(command(photos, out))
    assert "prepared already" in capsys.readouterr().out
    assert {path.name: path.stat().st_ino for path in out.iterdir()} == inodes
    # It may be another place by now: what counts is what is in it.
    shutil.move(photos, tmp_path / "moved")
    assert main(command(tmp_path / "moved", out)) == 0


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, ["--short-side=8"], "short_side: 0, now 8"),
        (None, ["--splits=train"], "splits: "),
        ("train/cat/30.jpg", [], "'examples': 20.* now .*'examples': 21"),
        ("train/cat/02.jpg", [], "splits: "),
        ("train/ant/00.jpg", [], "class_names: "),
    ],
)
def test_another_plan_is_refused(photos, tmp_path, capsys, change, options, message):
    out = tmp_path / "out"
    main(command(photos, out))
    before = files_of(out)
    if change:
        (photos / change).parent.mkdir(exist_ok=True)
        (photos / change).write_bytes(picture(99))
    capsys.readouterr()
    assert main(command(photos, out, *options)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "was begun by another plan" in error
    assert re.search(message, error)
    assert files_of(out) == before


def test_bad_images_are_all_named_or_left_out(photos, tmp_path, capsys):
    bad = [photos / "train" / "cat" / "04.jpg", photos / "train" / "dog" / "19.jpg", photos / "val" / "cat" / "02.jpg"]
    for path, content in zip(bad, (b"nonsense", picture(19)[:200], b""), strict=True):
        path.write_bytes(content)
    assert main(command(photos, tmp_path / "out")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "3 images are bad, and --skip-bad would leave them out" in error
    assert all(str(path) in error for path in bad)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not (tmp_path / "out" / "dataset_info.json").exists()

    assert main(command(photos, tmp_path / "out", "--skip-bad")) == 0, "goes on, now without them"
    assert main(command(photos, tmp_path / "out")) == 2
    assert "skip_bad: True, now False" in capsys.readouterr().err
    assert main(command(photos, tmp_path / "skipped", "--skip-bad")) == 0
    assert "train: 18 examples" in capsys.readouterr().out
    assert files_of(tmp_path / "skipped") == files_of(tmp_path / "out")
    manifest = json.loads((tmp_path / "skipped" / "manifest.json").read_text())
    left_out = [each for split in manifest["splits"].values() for s in split["shards"] for each in s["left_out"]]
    assert [each["name"] for each in left_out] == [os.path.relpath(path, photos) for path in bad]
    ours = sources.build("tfds", "train", name="photos", data_dir=str(tmp_path / "skipped"))
    good = [e.image for e in sources.build("folder", "train", path=str(photos)) if Path(e.name) not in bad]
    assert [example.image for example in ours] == good


def test_a_shard_of_bad_images_alone_is_empty_and_can_be_made_anew(photos, tmp_path):
    for path in (photos / "train" / "cat").iterdir():
        path.write_bytes(b"nonsense")
    out = tmp_path / "out"
    assert main(command(photos, out, "--skip-bad", "--shards=20")) == 0
    before = files_of(out)
    damage(out / "photos-train.array_record-00019-of-00020")
    assert main(command(photos, out, "--skip-bad", "--shards=20")) == 0
    assert files_of(out) == before
    assert {example.label for example in sources.build("array_record", "train", path=str(out))} == {1}


def test_a_full_disk_is_a_line_and_leaves_nothing_that_counts(photos, tmp_path, capsys):
    for file in photos.glob("train/*/*.jpg"):
        file.write_bytes(picture(int(file.stem), (120, 90), "BMP"))
    out, limits = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        code = main(command(photos, out))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert "cannot write" in error
    assert "what is finished stays" in error
    assert {path.name for path in out.iterdir()} == {".unfinished"}
    assert main(command(photos, out)) == 0
    main(command(photos, tmp_path / "other"))
    assert files_of(out) == files_of(tmp_path / "other")


def test_one_at_a_time(photos, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    descriptor = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert main(command(photos, tmp_path / "out")) == 2
    os.close(descriptor)
    assert "is being prepared by another process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data=PHOTOS"], "--out is wanted"),
        (["--out=x"], "give one of --data, --config, --tfds and --tfrecord"),
        (["--data=PHOTOS", "--out=PHOTOS"], "holds other files already"),
        (["--data=PHOTOS", "--out=OUT", "--splits=train,tset"], 'no split "tset"'),
        (["--data=PHOTOS", "--out=OUT", "--splits=train[:9],train[9:]"], 'writes "train" twice'),
        (["--data=PHOTOS", "--out=OUT", "--name=My Photos"], "is no name for files"),
        (["--data=PHOTOS", "--out=OUT", "--processes=0"], "0 processes; give at least 1"),
        (["--data=PHOTOS", "--out=OUT", "--short-side=-1"], "short_side -1"),
        (["--data=PHOTOS", "--out=gs://bucket/x"], "no folder of this machine"),
        (["--data=PHOTOS", "--out=OUT", "--shortside=8"], 'Did you mean "--short-side"'),
        (["--data=PHOTOS", "--out=OUT", "--config.seed=1"], 'no option "--config.seed"'),
        (["--tfrecord=PHOTOS", "--out=OUT", "--short-side=8"], "--short-side says nothing beside --tfrecord"),
        (["--tfrecord=PHOTOS", "--out=OUT"], "has no dataset_info.json"),
    ],
)
def test_commands_that_cannot_be_done(photos, tmp_path, capsys, options, message):
    words = [word.replace("PHOTOS", str(photos)).replace("OUT", str(tmp_path / "out")) for word in options]
    assert main(["data", "prepare", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1
    assert message in error
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_config_is_prepared_with_the_splits_it_names(tmp_path, capsys):
    words = ["data", "prepare", "--config=configs/scratch.py", "--config.source={'kind': 'digits'}", "--name=digits"]
    words += [f"--out={tmp_path / 'out'}", "--splits=train,held_out=train[95%:]"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "train: 1097 examples" in out
    assert "held_out: 55 examples" in out


@pytest.mark.slow
def test_any_number_of_processes_makes_the_same_bytes(photos, tmp_path):
    main(command(photos, tmp_path / "one", "--short-side=6"))
    main(command(photos, tmp_path / "three", "--short-side=6", "--processes=3"))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "three")


@pytest.mark.slow
def test_killed_at_any_time_nothing_looks_finished_that_is_not(photos, tmp_path):
    for file in photos.glob("train/*/*.jpg"):
        file.write_bytes(picture(int(file.stem), (1200, 900)))
    options = ["--shards=10", "--short-side=600"]
    main(command(photos, tmp_path / "whole", *options))
    whole, out = files_of(tmp_path / "whole"), tmp_path / "out"
    words = [sys.executable, "-m", "vit_jax", *command(photos, out, *options, "--processes=2")]
    rng, kills = np.random.default_rng(0), 0

    def finished():
        return {path.name: path.read_bytes() for path in out.glob("[!.]*")}

    for _ in range(6):
        process, seen = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), finished()
        while process.poll() is None and len(finished()) == len(seen):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        time.sleep(0.3)  # its workers end by themselves
        found = finished()
        assert found.items() <= whole.items(), "what has its name is whole"
        assert "manifest.json" not in found or found == whole
        if "manifest.json" in found:
            break
    assert kills > 2
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert files_of(out) == whole
