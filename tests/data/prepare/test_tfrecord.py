import io
import json
import shutil
import struct
import sys

import builders
import numpy as np
import pytest
import tensorflow_datasets
from array_record.python.array_record_module import ArrayRecordReader
from buckets import Buckets, serving
from tensorboardX.record_writer import RecordWriter, masked_crc32c

from vit_jax.__main__ import main
from vit_jax.data import sources
from vit_jax.data.prepare import tfrecord
from vit_jax.errors import UserError


@pytest.fixture
def tfds_folder(tmp_path):
    """A tfds dataset of 20 + 5 PNGs as TFRecord, its files written by tensorboardX, which has checksums of its own."""

    folder = tmp_path / "tfrecord"
    shutil.copytree(builders.prepared(tmp_path / "made", shards=3), folder)
    for path in folder.glob("*.array_record-*"):
        writer = RecordWriter(str(path).replace(".array_record-", ".tfrecord-"))
        for record in ArrayRecordReader(str(path)).read_all():
            writer.write(record)
        writer.close()
        path.unlink()
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    return folder


def convert(folder, out, *options):
    return main(["data", "prepare", f"--tfrecord={folder}", f"--out={out}", *options])


def test_converted_the_records_are_the_same(tfds_folder, tmp_path, capsys):
    made = tmp_path / "made" / "small" / "1.0.0"
    assert convert(tfds_folder, tmp_path / "out") == 0
    assert "train: 20 examples" in capsys.readouterr().out
    for path in made.glob("*.array_record-*"):
        wanted = ArrayRecordReader(str(path)).read_all()
        assert ArrayRecordReader(str(tmp_path / "out" / path.name)).read_all() == wanted
    theirs = tensorflow_datasets.builder_from_directory(tmp_path / "out").as_data_source("train")
    ours = sources.build("tfds", "train", name="small", data_dir=str(tmp_path / "out"))
    before = tensorflow_datasets.builder_from_directory(made).as_data_source("train")
    assert [r["id"] for r in theirs] == [r["id"] for r in before]
    assert [example.label for example in ours] == [record["label"] for record in before]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["keys"] == {"image": "image", "label": "label", "name": "id"}
    assert np.load(tmp_path / "out" / "train.labels.npy").tolist() == [record["label"] for record in before]
    assert "tensorflow" not in sys.modules

    inodes = {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir()}
    assert convert(tfds_folder, tmp_path / "out") == 0
    assert {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir()} == inodes
    damaged = next((tmp_path / "out").glob("*-train.array_record-00001*"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1])
    assert convert(tfds_folder, tmp_path / "out") == 0
    assert damaged.read_bytes() == content
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest


def shard(folder):
    return next(folder.glob("*-train.tfrecord-00001-of-00003"))


def second_record(content):
    (length,) = struct.unpack("<Q", content[:8])
    return length + 16


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda c, second: c[: second + 20] + bytes([c[second + 20] ^ 1]) + c[second + 21 :], "record 1 of"),
        (lambda c, second: c[:second] + bytes([c[second] ^ 1]) + c[second + 1 :], "the length of record 1 of"),
        (
            lambda c, second: c[: second + 9] + bytes([c[second + 9] ^ 1]) + c[second + 10 :],
            "the length of record 1 of",
        ),
        (lambda c, second: c[:-1] + bytes([c[-1] ^ 1]), "is not what was written"),
        (lambda c, second: c[: second + 5], "ends within record 1"),
        (lambda c, second: c[: second + 30], "ends within record 1"),
        (lambda c, second: c[:second], "has 1 records and its dataset_info.json says"),
        (lambda c, second: c[:second] + bytes(12) + c[second + 12 :], "the length of record 1 of"),
        (lambda c, second: None, "does not exist"),
    ],
)
def test_what_is_damaged_is_named(tfds_folder, tmp_path, capsys, harm, message):
    path = shard(tfds_folder)
    content = path.read_bytes()
    harmed = harm(content, second_record(content))
    if harmed is None:
        path.unlink()
    else:
        path.write_bytes(harmed)
    assert convert(tfds_folder, tmp_path / "out") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert str(path) in error
    out = {path.name for path in (tmp_path / "out").iterdir()}
    assert not out & {"manifest.json", "dataset_info.json", path.name.replace("tfrecord", "array_record")}
    path.write_bytes(content)
    assert convert(tfds_folder, tmp_path / "out") == 0


def test_from_a_bucket(tfds_folder, tmp_path, monkeypatch):
    assert convert(tfds_folder, tmp_path / "local") == 0
    buckets = Buckets()
    buckets.put("bucket", tfds_folder.parent)
    with serving(buckets) as url:
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        assert convert(f"gs://bucket/{tfds_folder.name}", tmp_path / "out") == 0
    for path in (tmp_path / "local").iterdir():
        if path.name != "manifest.json":  # which says where it is from
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_checksums_are_those_of_others():
    rng = np.random.default_rng(0)
    for size in (0, 1, 7, 1000):
        data = rng.bytes(size)
        assert tfrecord.masked_crc32c(data) == masked_crc32c(data)


def test_an_empty_file_has_no_record():
    assert list(tfrecord.read(io.BytesIO(b""), "empty")) == []
    with pytest.raises(UserError, match='"short" ends within record 0'):
        list(tfrecord.read(io.BytesIO(b"123"), "short"))


def test_another_dataset_or_format_is_refused(tfds_folder, tmp_path, capsys):
    assert convert(tmp_path / "made" / "small" / "1.0.0", tmp_path / "out") == 2
    assert "is array_record; only TFRecord is converted" in capsys.readouterr().err
    assert convert(tfds_folder, tmp_path / "out") == 0
    info = tfds_folder / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"description": "another"}))
    assert convert(tfds_folder, tmp_path / "out") == 2
    assert "was begun from another dataset" in capsys.readouterr().err
