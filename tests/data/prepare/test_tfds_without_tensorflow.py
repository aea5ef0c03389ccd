"""TFDS' builders, fed small archives laid out as the real ones are."""

import io
import json
import sys
import tarfile

import numpy as np
import PIL.Image
import pytest
import scipy.io
import tensorflow_datasets

from vit_jax.__main__ import main
from vit_jax.data import sources
from vit_jax.data.prepare import tfds_without_tensorflow
from vit_jax.errors import UserError

RNG = np.random.default_rng(0)


def jpeg(size=(20, 16), mode="RGB"):
    file = io.BytesIO()
    PIL.Image.fromarray(RNG.integers(0, 256, (*size[::-1], 3), np.uint8)).convert(mode).save(file, "JPEG")
    return file.getvalue()


def png(mode="L"):
    file = io.BytesIO()
    PIL.Image.new(mode, (20, 16)).save(file, "PNG")
    return file.getvalue()


def tar(path, contents, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def archives(monkeypatch, tmp_path):
    """The files that downloads bring, by the last part of their address; extracting stays tfds' own."""
    import promise
    from etils import epath

    found = {}

    def download(manager, address):
        place = epath.Path(found[(address if isinstance(address, str) else address.url).rpartition("/")[2]])
        return promise.Promise.resolve(place)

    manager = tensorflow_datasets.download.DownloadManager
    monkeypatch.setattr(manager, "_download_or_get_cache", download)
    tensorflow_datasets.disable_progress_bar()
    return found


def read(data_dir, split, name):
    """What our own reader gives: (bytes, label) of each."""
    return [(e.image, e.label) for e in sources.build("tfds", split, name=name, data_dir=str(data_dir))]


def cifar10(path):
    """As in cifar-10-binary: a byte of label and 3 x 32 x 32 of pixels a record."""
    contents, images = {}, {"train": [], "test": []}
    contents["batches.meta.txt"] = "\n".join(f"class{i}" for i in range(10)).encode() + b"\n\n"
    for file in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        labels = RNG.integers(0, 10, 4, np.uint8)
        pixels = RNG.integers(0, 256, (4, 3, 32, 32), np.uint8)
        contents[file] = np.concatenate([labels[:, None], pixels.reshape(4, -1)], axis=1).tobytes()
        pairs = zip(pixels.transpose(0, 2, 3, 1), labels.tolist(), strict=True)
        images["test" if "test" in file else "train"] += [(image.tobytes(), label) for image, label in pairs]
    tar(path, {f"cifar-10-batches-bin/{name}": content for name, content in contents.items()})
    return images


def test_cifar10(archives, tmp_path, capsys):
    images = cifar10(tmp_path / "cifar.tar.gz")
    archives["cifar-10-binary.tar.gz"] = tmp_path / "cifar.tar.gz"
    assert main(["data", "prepare", "--tfds=cifar10", f"--data-dir={tmp_path}"]) == 0
    assert "train: 20 examples" in capsys.readouterr().out
    for split, wanted in images.items():
        decoded = [
            (np.asarray(PIL.Image.open(io.BytesIO(image))).tobytes(), label)
            for image, label in read(tmp_path, split, "cifar10")
        ]
        assert sorted(decoded) == sorted(wanted)
    assert "tensorflow" not in sys.modules

    folder = tmp_path / "cifar10" / "3.0.2"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["keys"] == {"image": "image", "label": "label", "name": "id"}
    assert manifest["class_names"] == [f"class{i}" for i in range(10)]
    assert main(["data", "prepare", "--tfds=cifar10", f"--data-dir={tmp_path}"]) == 0
    assert "prepared already" in capsys.readouterr().out
    labels = np.load(folder / "train.labels.npy")
    assert labels.tolist() == [label for _, label in read(tmp_path, "train", "cifar10")]

    damaged = folder / manifest["splits"]["train"]["shards"][0]["file"]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert main(["data", "prepare", "--tfds=cifar10", f"--data-dir={tmp_path}"]) == 2
    assert "is not as its manifest.json says; delete that folder" in capsys.readouterr().err


def test_cifar100_has_its_fine_labels(archives, tmp_path):
    record = bytes([3, 42]) + RNG.bytes(3072)
    names = {
        f"{kind}_label_names.txt": "\n".join(f"{kind}{i}" for i in range(n))
        for kind, n in (("coarse", 20), ("fine", 100))
    }
    files = {"train.bin": record * 3, "test.bin": record} | {name: text.encode() for name, text in names.items()}
    archives["cifar-100-binary.tar.gz"] = tar(
        tmp_path / "c.tar.gz", {f"cifar-100-binary/{name}": content for name, content in files.items()}
    )
    tfds_without_tensorflow.prepare("cifar100", str(tmp_path))
    assert [label for _, label in read(tmp_path, "train", "cifar100")] == [42, 42, 42]


@pytest.mark.parametrize("in_memory", [1000 << 20, 0])  # tfds shuffles larger data than this through files
def test_imagenet_from_its_two_archives(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(tensorflow_datasets.core.shuffle, "MAX_MEM_BUFFER_SIZE", in_memory)
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    synsets = {"n01440764": 0, "n02105855": 230}
    train = {s: {f"{s}_{i}.JPEG": jpeg() for i in range(3)} for s in synsets}
    # Two that the builder mends: a PNG by the wrong name, and CMYK.
    train["n02105855"]["n02105855_2933.JPEG"] = png("RGB")
    train["n01440764"]["n01739381_1309.JPEG"] = jpeg(mode="CMYK")
    inner = {f"{s}.tar": tar(tmp_path / "inner.tar", files, "w").read_bytes() for s, files in train.items()}
    tar(manual / "ILSVRC2012_img_train.tar", inner, "w")
    held_out = {f"ILSVRC2012_val_{i:08d}.JPEG": jpeg() for i in range(1, 4)}
    tar(manual / "ILSVRC2012_img_val.tar", held_out, "w")

    tfds_without_tensorflow.prepare("imagenet2012", str(tmp_path))
    found = read(tmp_path, "train", "imagenet2012")
    wanted = sorted((image, synsets[s]) for s, files in train.items() for image in files.values())
    same = [pair for pair in sorted(found) if pair in wanted]
    assert (len(found), len(same)) == (8, 6)
    for image, _ in found:
        picture = PIL.Image.open(io.BytesIO(image))
        assert (picture.format, picture.mode) == ("JPEG", "RGB")
    assert sorted(image for image, _ in read(tmp_path, "validation", "imagenet2012")) == sorted(held_out.values())
    assert "tensorflow" not in sys.modules


def test_imagenette(archives, tmp_path):
    synsets = tensorflow_datasets.core.tfds_path("image_classification/imagenette_labels.txt").read_text().split()
    images = {f"imagenette2/{part}/{synsets[3]}/{part}{i}.JPEG": jpeg() for part in ("train", "val") for i in range(2)}
    archives["imagenette2.tgz"] = tar(tmp_path / "imagenette2.tgz", images)
    tfds_without_tensorflow.prepare("imagenette", str(tmp_path))
    wanted = sorted((image, 3) for name, image in images.items() if "/train/" in name)
    assert sorted(read(tmp_path, "train", "imagenette/full-size-v2")) == wanted


def test_flowers(archives, tmp_path):
    images = {f"jpg/image_{i:05d}.jpg": jpeg() for i in range(1, 7)}
    archives["102flowers.tgz"] = tar(tmp_path / "102flowers.tgz", images)
    scipy.io.savemat(tmp_path / "imagelabels.mat", {"labels": np.array([[5, 1, 102, 7, 8, 9]])})
    scipy.io.savemat(tmp_path / "setid.mat", {"trnid": [[1, 3]], "valid": [[2, 4]], "tstid": [[5, 6]]})
    for name in ("imagelabels.mat", "setid.mat"):
        archives[name] = tmp_path / name
    tfds_without_tensorflow.prepare("oxford_flowers102", str(tmp_path))
    wanted = [(images["jpg/image_00001.jpg"], 4), (images["jpg/image_00003.jpg"], 101)]
    assert sorted(read(tmp_path, "train", "oxford_flowers102")) == sorted(wanted)


def test_pets_with_one_that_is_encoded_anew(archives, tmp_path):
    names = ["Abyssinian_1", "Abyssinian_5", "beagle_2"]
    images = {f"images/{name}.jpg": jpeg() for name in names}
    listed = "Abyssinian_1 1 1 1\nAbyssinian_5 1 1 1\nbeagle_2 5 2 1\n"
    annotations = {f"annotations/trimaps/{name}.png": png() for name in names}
    annotations |= {"annotations/trainval.txt": listed.encode(), "annotations/test.txt": b""}
    annotations["annotations/test.txt"] = b"beagle_2 5 2 1\n"
    archives["images.tar.gz"] = tar(tmp_path / "images.tar.gz", images, "w")
    archives["annotations.tar.gz"] = tar(tmp_path / "annotations.tar.gz", annotations, "w")
    tfds_without_tensorflow.prepare("oxford_iiit_pet", str(tmp_path))
    found = read(tmp_path, "train", "oxford_iiit_pet")
    assert sorted(label for _, label in found) == [0, 0, 4]
    assert sum(image in images.values() for image, _ in found) == 2
    assert read(tmp_path, "test", "oxford_iiit_pet") == [(images["images/beagle_2.jpg"], 4)]


def test_what_has_no_class_is_prepared_without_labels(tmp_path, capsys):
    class Counted(tensorflow_datasets.core.GeneratorBasedBuilder):
        VERSION = tensorflow_datasets.core.Version("1.0.0")

        def _info(self):
            kinds = tensorflow_datasets.features
            features = kinds.FeaturesDict({"image": kinds.Image(), "label": kinds.Scalar(np.int32)})
            return tensorflow_datasets.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": ((i, {"image": png("RGB"), "label": i}) for i in range(4))}

        def _generate_examples(self):
            raise NotImplementedError

    for said in ("prepared\n", "prepared already"):
        assert main(["data", "prepare", "--tfds=counted", f"--data-dir={tmp_path}"]) == 0
        assert said in capsys.readouterr().out
    manifest = json.loads((tmp_path / "counted" / "1.0.0" / "manifest.json").read_text())
    assert set(manifest["keys"].values()) == {None}
    assert set(manifest["splits"]["train"]) == {"examples", "shards"}


def test_a_builder_that_needs_more_says_so_and_all_is_put_back(archives, tmp_path):
    from tensorflow_datasets.core.features import image_feature
    from tensorflow_datasets.core.utils import lazy_imports_utils

    class WantsMore(tensorflow_datasets.core.GeneratorBasedBuilder):
        VERSION = tensorflow_datasets.core.Version("1.0.0")

        def _info(self):
            features = tensorflow_datasets.features.FeaturesDict({"image": tensorflow_datasets.features.Image()})
            return tensorflow_datasets.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield 0, {"image": lazy_imports_utils.tensorflow.image.resize(np.zeros((4, 4, 3), np.uint8), (2, 2))}

    before = lazy_imports_utils.tensorflow, image_feature.tf, image_feature._ImageEncoder._encode_image
    message = (
        r'"wants_more" needs TensorFlow: it asks for tf\.image\.resize; pip install tensorflow-cpu, and start again'
    )
    with pytest.raises(UserError, match=message):
        tfds_without_tensorflow.prepare("wants_more", str(tmp_path))
    after = lazy_imports_utils.tensorflow, image_feature.tf, image_feature._ImageEncoder._encode_image
    assert before == after
    assert "tensorflow" not in sys.modules


def test_what_is_prepared_as_tfrecord_is_not_prepared_again(archives, tmp_path):
    cifar10(tmp_path / "cifar.tar.gz")
    archives["cifar-10-binary.tar.gz"] = tmp_path / "cifar.tar.gz"
    folder = tmp_path / "cifar10" / "3.0.2"
    tfds_without_tensorflow.prepare("cifar10", str(tmp_path))
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"is prepared already, as tfrecord; .* convert it: --tfrecord=/.*/3\.0\.2 "):
        tfds_without_tensorflow.prepare("cifar10", str(tmp_path))


def test_a_name_that_tfds_does_not_know(tmp_path):
    with pytest.raises(UserError, match='tfds knows no dataset "cifar11"'):
        tfds_without_tensorflow.prepare("cifar11", str(tmp_path))
