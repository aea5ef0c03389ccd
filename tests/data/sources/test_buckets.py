"""Folders, archives and TFDS in a bucket: what the disk gives, to the byte."""

import hashlib
import importlib.util
import io
import os
import pickle
import time

import numpy as np
import PIL.Image
import pytest
from buckets import Buckets, serving

from vit_jax.data import pipeline, sources
from vit_jax.data.images import preprocess
from vit_jax.errors import UserError


@pytest.fixture
def bucket(monkeypatch):
    buckets = Buckets(page=3)
    with serving(buckets) as url:
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "20")
        yield buckets


def plant(root, *files):
    generator = np.random.default_rng(0)
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(generator.integers(0, 256, (9, 9, 3), np.uint8)).save(root / file)


def hashes(source):
    """The first batches of a training, pixels and labels, as hashes."""
    batches = pipeline.training(source, preprocess.build("inception_crop", (8, 8)), batch_size=4, seed=3, threads=2)
    return [
        hashlib.sha256(batches[step]["image"].tobytes() + batches[step]["label"].tobytes()).hexdigest()
        for step in range(3)
    ]


@pytest.mark.parametrize("layout", ["", "train/"])
def test_a_folder(tmp_path, bucket, layout):
    files = [f"{layout}{name}/{number}.png" for name in ("cat", "dog-b", "dog") for number in range(3)]
    plant(tmp_path / "pets", *files, f"{layout}cat/deep/x.PNG", f"{layout}cat/.hidden.png", ".git/a.png")
    (tmp_path / "pets" / layout / "cat/notes.txt").write_text("no image")
    bucket.put("bucket", tmp_path)
    split = "train" if layout else "all"
    local = sources.build("folder", split, path=str(tmp_path / "pets"))
    remote = sources.build("folder", split, path="gs://bucket/pets/")
    assert len(local) == 10
    assert remote.class_names == local.class_names == ("cat", "dog", "dog-b")
    for here, there in zip(local, remote, strict=True):
        assert (there.image, there.label) == (here.image, here.label)
        assert there.name == here.name.replace(str(tmp_path), "gs://bucket")
    assert hashes(remote) == hashes(local)
    assert hashes(pickle.loads(pickle.dumps(remote))) == hashes(local)


def test_folders_that_are_none(tmp_path, bucket):
    plant(tmp_path, "flat/a.png", "flat/b.png")
    bucket.put("bucket", tmp_path)
    for path, message in [("flat", "side by side"), ("none", "does not exist"), ("flat/a.png", "is a file")]:
        with pytest.raises(UserError, match=message):
            sources.build("folder", "all", path=f"gs://bucket/{path}")
    bucket.status = 403
    with pytest.raises(UserError, match="no permission"):
        sources.build("folder", "all", path="gs://bucket/flat")


def test_a_part_of_a_listing_that_is_refused_is_an_error(tmp_path, bucket, monkeypatch):
    """Never fewer images than there are."""
    plant(tmp_path, *(f"cat/{number}.png" for number in range(7)))
    bucket.put("bucket", tmp_path)
    answer = bucket.answer
    monkeypatch.setattr(
        bucket, "answer", lambda path, headers: (403, {}, b"{}") if "pageToken" in path else answer(path, headers)
    )
    with pytest.raises(UserError, match="no permission"):
        sources.build("folder", "all", path="gs://bucket")


def test_a_bucket_that_falls_silent_ends_the_listing_of_all_classes(tmp_path, bucket, monkeypatch):
    """After one deadline, not one for each class."""
    plant(tmp_path, *(f"{number}/a.png" for number in range(100)))
    bucket.put("bucket", tmp_path)
    bucket.page = 1000
    monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "0.5")
    answer = bucket.answer
    monkeypatch.setattr(
        bucket, "answer", lambda path, headers: answer(path, headers) if "prefix=" not in path else (503, {}, b"{}")
    )
    start = time.monotonic()
    with pytest.raises(UserError, match=r'"gs://bucket/0" gave no answer within 0.5 seconds'):
        sources.build("folder", "all", path="gs://bucket")
    assert time.monotonic() - start < 3


def test_an_archive(tmp_path, bucket):
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), np.uint8)
    np.savez_compressed(tmp_path / "data.npz", images=images, labels=np.arange(10) % 3)
    bucket.put("bucket", tmp_path)
    local, remote = (sources.build("arrays", "all", path=f"{root}/data.npz") for root in (tmp_path, "gs://bucket"))
    np.testing.assert_array_equal(remote.images, local.images)
    assert hashes(remote) == hashes(local)
    bucket.objects["bucket/data.npz"] = bucket.objects["bucket/data.npz"][:-30]
    with pytest.raises(UserError, match=r"is no \.npz archive"):
        sources.build("arrays", "all", path="gs://bucket/data.npz")
    with pytest.raises(UserError, match="does not exist"):
        sources.build("arrays", "all", path="gs://bucket/none.npz")


@pytest.fixture
def prepared(tmp_path):
    """A tfds dataset `bucketed`, prepared as ArrayRecord; returns its data_dir."""
    import tensorflow_datasets

    class Bucketed(tensorflow_datasets.core.GeneratorBasedBuilder):
        VERSION = tensorflow_datasets.core.Version("1.0.0")
        SKIP_REGISTERING = True

        def _info(self):
            label = tensorflow_datasets.features.ClassLabel(names=["cat", "dog"])
            features = tensorflow_datasets.features.FeaturesDict(
                {"image": tensorflow_datasets.features.Image(shape=(None, None, 3)), "label": label}
            )
            return tensorflow_datasets.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(12):
                file = io.BytesIO()
                PIL.Image.fromarray(np.full((9, 9, 3), i, np.uint8)).save(file, "PNG")
                file.seek(0)
                yield i, {"image": file, "label": i % 2}

    tensorflow_datasets.disable_progress_bar()
    Bucketed(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    return tmp_path


def test_what_tfds_prepared_as_shards_needs_no_gcsfs(prepared, bucket, monkeypatch):
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", os.environ["TENSORSTORE_GCS_HTTP_URL"])
    bucket.put("bucket", prepared)
    local = sources.build("tfds", "train", name="bucketed", data_dir=str(prepared))
    remote = sources.build("array_record", "train", path="gs://bucket/bucketed/1.0.0")
    assert [(there.image, there.label) for there in remote] == [(here.image, here.label) for here in local]
    assert remote.class_names == local.class_names == ("cat", "dog")
    assert hashes(remote) == hashes(local)
    opened = sources.build("tfds", "train", name="bucketed", data_dir=str(prepared / "bucketed/1.0.0"))
    assert hashes(pickle.loads(pickle.dumps(opened))) == hashes(local)


def test_tfds_without_gcsfs_says_what_to_do(bucket, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'by gcsfs; install the extra \[gcs\], or .* kind "array_record"'):
        sources.build("tfds", "train", name="bucketed", data_dir="gs://bucket")


@pytest.mark.parity
@pytest.mark.filterwarnings("default")  # gcsfs' own
def test_tfds(prepared, bucket, monkeypatch):
    """gcsfs asks for a bucket's kind by gRPC, which the bucket of the tests does not speak; so that is off."""
    for variable in ("CLOUD_STORAGE_EMULATOR_ENDPOINT", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(variable, os.environ["TENSORSTORE_GCS_HTTP_URL"])
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    bucket.put("bucket", prepared)
    local = sources.build("tfds", "train", name="bucketed", data_dir=str(prepared))
    remote = sources.build("tfds", "train", name="bucketed", data_dir="gs://bucket")
    assert hashes(remote) == hashes(local)
    with pytest.raises(UserError, match='none" does not exist'):
        sources.build("tfds", "train", name="bucketed", data_dir="gs://bucket/none")
    monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "0.5")
    bucket.status = 503
    with pytest.raises(UserError, match=r"gs://bucket\S* gave no answer within 0.5 seconds"):
        sources.build("tfds", "train", name="bucketed", data_dir="gs://bucket")
    with pytest.raises(UserError, match=r"gs://bucket/bucketed/1.0.0\S* gave no answer within 0.5 seconds"):
        remote[0]
