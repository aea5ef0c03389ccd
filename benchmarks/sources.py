"""One data set kept in every way that is read here: are the batches the same, and how fast are they read?

    .venv/bin/python benchmarks/sources.py --data FOLDER [--split train] [--steps 100]

FOLDER has a folder of JPEGs for each class, for each split (CIFAR-10, say). It is written once as each other kind into
a temporary folder: tables as CSV and JSONL, WebDataset tars, ArrayRecord shards by `data prepare`, which the kind tfds
reads too, a NumPy archive, a Hugging Face dataset where `datasets` is installed; and tars and shards in a bucket that
this machine plays. Then `data hash` reads the first batches of configs/scratch.py from each. Prints a line a kind:
seconds to the first batch and images a second after it, by 2 threads, and one hash of all the batches' hashes.
"""

import argparse
import contextlib
import csv
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rich.console
import rich.table

from vit_jax.data import sources
from vit_jax.data.examples import Source
from vit_jax.data.images.decode import decode

ROOT = Path(__file__).parent.parent
PER_TAR = 10_000


def tables(source: Source, folder: Path) -> None:
    """Writes train.csv and train.jsonl, a folder each, in the order of the source."""
    names = [Path(source[index].name).absolute().as_posix() for index in range(len(source))]
    labels = [source.class_names[label] for label in np.asarray(getattr(source, "labels", ())).tolist()]
    for kind in ("csv", "jsonl"):
        (folder / kind).mkdir()
        with open(folder / kind / f"train.{kind}", "w", newline="") as file:
            if kind == "csv":
                csv.writer(file).writerows([("path", "label"), *zip(names, labels, strict=True)])
            else:
                file.writelines(
                    json.dumps({"path": name, "label": label}) + "\n" for name, label in zip(names, labels, strict=True)
                )


def tars(source: Source, folder: Path) -> None:
    """Writes WebDataset's tars, the class as a number beside each image, and classes.txt."""
    folder.mkdir()
    (folder / "classes.txt").write_text("\n".join(source.class_names))
    for number, start in enumerate(range(0, len(source), PER_TAR)):
        with tarfile.open(folder / f"train-{number:06}.tar", "w") as tar:
            for index in range(start, min(start + PER_TAR, len(source))):
                example = source[index]
                for suffix, content in (("jpg", example.image), ("cls", str(example.label).encode())):
                    member = tarfile.TarInfo(f"{index:08}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(bytes(content)))


def archive(source: Source, file: Path) -> None:
    """Writes the decoded images as a NumPy archive."""
    images = np.stack([np.asarray(decode(source[index].image, "")) for index in range(len(source))])
    labels = np.asarray(getattr(source, "labels", ()))
    np.savez(file, train_images=images, train_labels=labels, class_names=np.array(source.class_names))


def hugging_face(source: Source, folder: Path) -> None:
    """Writes a Hugging Face dataset."""
    datasets: Any = importlib.import_module("datasets")
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(source.class_names)))

    def rows() -> Iterator[dict[str, object]]:
        for index in range(len(source)):
            example = source[index]
            yield {"image": {"bytes": example.image, "path": None}, "label": example.label}

    made = datasets.Dataset.from_generator(rows, features=features, cache_dir=str(folder / "cache"))
    datasets.DatasetDict(train=made).save_to_disk(str(folder / "saved"))


@contextlib.contextmanager
def bucket(folders: dict[str, Path]) -> Iterator[dict[str, str]]:
    """Serves folders as buckets; yields the environment in which gs:// leads to them."""
    sys.path.insert(0, str(ROOT / "tests"))
    buckets: Any = importlib.import_module("buckets")
    held = buckets.Buckets({})
    for name, folder in folders.items():
        held.put(name, folder)
    with buckets.serving(held) as url:
        yield {"TENSORSTORE_GCS_HTTP_URL": url, "CLOUD_STORAGE_EMULATOR_ENDPOINT": url}


def hashed(source: dict[str, object], split: str, steps: int, environment: dict[str, str]) -> tuple[float, float, str]:
    """Returns seconds to the first batch, images a second after it, and the hash of all hashes."""
    command = [
        *(sys.executable, "-m", "vit_jax", "data", "hash", "--config=configs/scratch.py", f"--steps={steps}"),
        *(f"--config.source={source}", f"--config.train.split={split}", "--config.batch_size=256"),
    ]
    started = time.perf_counter()
    digest, first = hashlib.sha256(), 0.0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | environment) as process:
        assert process.stdout
        for number, line in enumerate(process.stdout):
            first = first if number else time.perf_counter()
            digest.update(line)
    if process.returncode:
        raise SystemExit(process.returncode)
    return first - started, (steps - 1) * 256 / (time.perf_counter() - first), digest.hexdigest()


def main() -> int:
    """Prints the table; returns 1 if two kinds differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of images")
    parser.add_argument("--split", default="train", help="the split that is read (default train)")
    parser.add_argument("--steps", type=int, default=100, help="batches of 256 (default 100)")
    given = parser.parse_args()
    data = str(Path(given.data).absolute())
    source = sources.build("folder", given.split, path=data)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tables(source, folder)
        tars(source, folder / "tars")
        archive(source, folder / "arrays.npz")
        shards = str(folder / "shards")
        prepare = [sys.executable, "-m", "vit_jax", "data", "prepare", f"--data={data}", f"--out={shards}"]
        subprocess.run([*prepare, f"--splits={given.split}", "--name=images"], cwd=ROOT, check=True)
        kinds: dict[str, tuple[dict[str, object], str]] = {
            "folder": ({"kind": "folder", "path": data}, given.split),
            "table, CSV": ({"kind": "table", "path": str(folder / "csv")}, "train"),
            "table, JSONL": ({"kind": "table", "path": str(folder / "jsonl")}, "train"),
            "webdataset": ({"kind": "webdataset", "path": str(folder / "tars")}, "train"),
            "array_record": ({"kind": "array_record", "path": shards}, given.split),
            "tfds": ({"kind": "tfds", "name": "images", "data_dir": shards}, given.split),
            "arrays": ({"kind": "arrays", "path": str(folder / "arrays.npz")}, "train"),
        }
        if importlib.util.find_spec("datasets"):
            hugging_face(source, folder / "huggingface")
            kinds["huggingface"] = ({"kind": "huggingface", "path": str(folder / "huggingface/saved")}, "train")
        remote = {
            "webdataset, gs://": ({"kind": "webdataset", "path": "gs://tars"}, "train"),
            "array_record, gs://": ({"kind": "array_record", "path": "gs://shards"}, given.split),
        }
        table = rich.table.Table("kind", "s to the first batch", "images/s", "SHA-256 of all hashes")
        found = set[str]()
        with bucket({"tars": folder / "tars", "shards": folder / "shards"}) as environment:
            for name, (section, split) in (kinds | remote).items():
                first, rate, digest = hashed(section, split, given.steps, environment)
                table.add_row(name, f"{first:.1f}", f"{rate:,.0f}", digest)
                found.add(digest)
        rich.console.Console(width=130).print(table)
    print("all the same" if len(found) == 1 else "THEY DIFFER")
    return int(len(found) > 1)


if __name__ == "__main__":
    sys.exit(main())
