import hashlib
import importlib
import json
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from buckets import Buckets, serving

from vit_jax.data import sources
from vit_jax.data.examples import labels_of
from vit_jax.errors import UserError


def example(image, labels, name):
    """The bytes of a tf.train.Example, by tfds' own class."""
    message = importlib.import_module("tensorflow_datasets.proto.tf_example_generated_pb2").Example()
    feature = message.features.feature
    feature["image"].bytes_list.value.append(image)
    feature["label"].int64_list.value.extend(labels)
    feature["file_name"].bytes_list.value.append(name.encode())
    return message.SerializeToString()


def write(path, records):
    module = importlib.import_module("array_record.python.array_record_module")
    writer = module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for record in records:
        writer.write(record)
    writer.close()


def shard(number, count=3, split="train"):
    return f"pets-{split}.array_record-{number:05}-of-{count:05}"


def labels_of_example(number):
    return [number % 2]


@pytest.fixture
def prepared(tmp_path):
    """Three shards of 4, 5 and 6 examples with a manifest, and one shard of the split test without labels at hand."""
    folder = tmp_path / "pets"
    folder.mkdir()
    sizes, number, shards = (4, 5, 6), 0, []
    for place, size in enumerate(sizes):
        numbers = range(number, number + size)
        write(folder / shard(place), [example(b"%d" % i * 900, labels_of_example(i), f"{i}.jpg") for i in numbers])
        shards.append({"file": shard(place), "examples": size})
        number += size
    write(folder / shard(0, 1, "test"), [example(b"t", [1], "t.jpg")])
    np.save(folder / "train.labels.npy", np.arange(15, dtype=np.int32) % 2)
    splits = {
        "train": {"examples": 15, "labels": {"file": "train.labels.npy"}, "shards": shards},
        "test": {"examples": 1, "shards": [{"file": shard(0, 1, "test"), "examples": 1}]},
    }
    manifest = {"layout": 1, "class_names": ["cat", "dog"], "most_labels": None, "splits": splits}
    keys = {"image": "image", "label": "label", "name": "file_name"}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"keys": keys}))
    return folder


@pytest.fixture
def bucket(monkeypatch):
    buckets = Buckets(page=2)
    with serving(buckets) as url:
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", url)
        monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "20")
        yield buckets


def build(path, split="train", **options):
    return sources.build("array_record", split, path=str(path), **options)


def test_records_come_in_the_order_of_the_shards(prepared):
    source = build(prepared)
    expected = [(b"%d" % i * 900, i % 2, f"{i}.jpg") for i in range(15)]
    assert [tuple(found) for found in source] == expected
    assert (source.class_names, source.most_labels, len(build(prepared, "test"))) == (("cat", "dog"), None, 1)
    assert labels_of(source).tolist() == [i % 2 for i in range(15)]
    assert len(build(prepared, "train[:80%]")) == 12
    assert [tuple(found) for found in build(f"{prepared}/pets-*")] == expected


def test_a_bucket_gives_what_the_disk_gives(prepared, bucket):
    bucket.put("bucket", prepared.parent)
    local, remote = build(prepared), build("gs://bucket/pets")
    assert list(remote) == list(local)
    assert labels_of(remote).tolist() == labels_of(local).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("status", [503, 429])
def test_a_third_of_a_buckets_answers_may_be_errors(prepared, bucket, monkeypatch, status):
    monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "60")
    bucket.put("bucket", prepared.parent)
    bucket.status, bucket.share = status, 0.3
    assert list(build("gs://bucket/pets/pets-*")) == list(build(prepared))


def test_a_bucket_that_falls_silent_is_an_error(prepared, bucket, monkeypatch):
    bucket.put("bucket", prepared.parent)
    source = build("gs://bucket/pets")
    assert source[0].label == 0
    monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "0.5")
    bucket.status = 503
    with pytest.raises(UserError, match=r"gs://bucket/pets/pets-train\S+-00002-of-00003\" gave no answer within 0.5"):
        source[14]
    bucket.status = 403
    with pytest.raises(UserError, match="gs://bucket/pets/pets-train.*403"):
        source[8]
    with pytest.raises(UserError, match="no permission"):
        build("gs://bucket/pets")


def digest(source, index):
    return hashlib.sha256(source[index].image).hexdigest()


def test_threads_and_processes_read_the_same(prepared):
    source = build(prepared)
    source[0]
    assert len(pickle.dumps(source)) < 1000
    expected = [digest(source, index) for index in range(15)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda index: digest(source, index % 15), range(300))) == expected * 20
    assert [digest(pickle.loads(pickle.dumps(source)), index) for index in range(15)] == expected


@pytest.mark.slow
def test_a_spawned_process_reads_the_same(prepared):
    source = build(prepared)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        assert processes.submit(source.__getitem__, 7).result() == source[7]


def test_damage_is_named_and_never_silent(prepared):
    path = prepared / shard(1)
    whole = path.read_bytes()
    place = whole.index(b"6" * 900)
    path.write_bytes(whole[:place] + b"7" + whole[place + 1 :])
    source = build(prepared)
    assert source[5].name == "5.jpg"
    with pytest.raises(UserError, match=r'cannot read record 2 of ".*-00001-of-00003": Corrupted .*hash mismatch'):
        source[6]
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r'cannot read ".*-00001-of-00003": '):
            build(prepared)


@pytest.mark.parametrize("with_manifest", [True, False])
def test_fewer_examples_than_were_written_stop_the_start(prepared, with_manifest):
    if not with_manifest:
        (prepared / "manifest.json").unlink()
        info = {"splits": [{"name": "train", "shardLengths": ["4", "5", "6"]}]}
        (prepared / "dataset_info.json").write_text(json.dumps(info))
        (prepared / "label.labels.txt").write_text("cat\ndog\n")
        assert build(prepared).class_names == ("cat", "dog")
    write(prepared / shard(1), [example(b"x", [0], "x")] * 3)
    with pytest.raises(UserError, match="-00001-of-00003.* has 3 examples, and 5 are written of it"):
        build(prepared)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "trian"}, 'has no split "trian". Did you mean "train"'),
        ({"image": "imge"}, 'record 0 of ".*-00000-of-00003" has no "imge". Did you mean "image"'),
        ({"image": "label"}, 'has a int64_list at "label", and a bytes_list was wanted'),
        ({"class_names": ["one"]}, r"record 1 of .* has the label \(1,\); there are 1 classes"),
    ],
)
def test_wrong_options_are_a_line(prepared, options, message):
    with pytest.raises(UserError, match=message) as raised:
        list(build(prepared, **options))
    assert "\n" not in str(raised.value)


def test_shards_that_are_missing_or_of_another_kind(prepared, tmp_path):
    (prepared / shard(1)).unlink()
    with pytest.raises(UserError, match="lacks 1 of 3 shards of train, the first is number 1"):
        build(prepared)
    (prepared / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"neither manifest.json nor label.labels.txt; give class_names"):
        build(prepared, "test")
    write(prepared / shard(0, 1, "test"), [b"\xff\xff"])
    with pytest.raises(UserError, match=r'record 0 of ".*test.*" is no tf.train.Example'):
        build(prepared, "test", class_names=["one"])[0]
    with pytest.raises(UserError, match="no file such as"):
        build(tmp_path)


def test_several_labels_each(tmp_path):
    write(tmp_path / "x-all.array_record", [example(b"x", labels, "x") for labels in ([0, 2], [], [1])])
    source = build(tmp_path, "all", class_names=["a", "b", "c"], most_labels=2, name="file_name")
    assert [found.label for found in source] == [(0, 2), (), (1,)]
    with pytest.raises(UserError, match='has 2 labels at "label"; one is wanted; or set most_labels'):
        build(tmp_path, "all", class_names=["a", "b", "c"])[0]


def test_only_so_many_shards_stay_open(prepared, monkeypatch):
    from vit_jax.data.sources import array_record, array_record_file

    monkeypatch.setattr(array_record_file, "OPEN", 1)
    source = array_record.array_record("train", str(prepared))
    read = [source[index].name for index in (0, 14, 5, 0, 14)]
    assert read == ["0.jpg", "14.jpg", "5.jpg", "0.jpg", "14.jpg"]
    assert len(source._readers) == 1
    assert threading.active_count() < 50
