"""VTAB-1k: nineteen tasks of 1,000 labelled images each (arXiv 1910.04867).

Data sets, splits and labels are those of the published benchmark, google-research/task_adaptation. The first 800 images
of a task's `train` and the first 200 of its `val` are what is learned from. tfds sorts the records by a hash of their
keys before it writes them, so that these are the same ones in every format; only another version of a data set may have
others. Where `data_dir` holds a version that fits, it is read, even if tfds would now prepare a newer one.
"""

import bisect
import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from vit_jax.data.examples import Concatenation, Selection, Source
from vit_jax.data.images.decode import decode
from vit_jax.data.sources import tfds
from vit_jax.data.sources.tfds import Prepared, Record
from vit_jax.errors import UserError, did_you_mean, pick

# How many images of `train` and of `val` a split of VTAB-1k takes, the first ones.
FEW = {"train800": (800, 0), "val200": (0, 200), "train800val200": (800, 200)}


@dataclasses.dataclass(frozen=True)
class Task:
    """One of the nineteen.

    Attributes:
      group: "natural", "specialized" or "structured".
      name: of the data set in tfds, with its version.
      train, val, test: the whole splits, in the words of tfds.
      key: of the class label in a record; "" where `label` makes the label.
      label: from a record to the number of its class.
      classes: how many there are, where the data set does not say.
      full_range: False where pixels are 0 and 1, to be 0 and 255.
    """

    group: str
    name: str
    train: str = "train"
    val: str = "validation"
    test: str = "test"
    key: str = "label"
    label: Callable[[Record], int] | None = None
    classes: int = 0
    full_range: bool = True


def object_count(record: Record) -> int:
    """CLEVR: how many objects there are, 3 to 10, counted from 0."""
    return len(record["objects"]["size"]) - 3


def closest_object(record: Record) -> int:
    """CLEVR: how far the closest object is, by five thresholds of its depth in pixel coordinates."""
    depths = np.asarray(record["objects"]["pixel_coords"])[:, 2]
    return bisect.bisect_left([8.0, 8.5, 9.0, 9.5, 10.0], depths.min())


def closest_vehicle(record: Record) -> int:
    """KITTI: whether the closest car, van or truck is within 8 m, 20 m, or beyond; 3 where there is none."""
    vehicles = np.asarray(record["objects"]["type"]) < 3
    distances = np.reshape(record["objects"]["location"], (-1, 3))[vehicles, 2]
    return bisect.bisect_left([8.0, 20.0, 999.0], distances.min(initial=1000.0))


def grouped(key: str, by: float) -> Callable[[Record], int]:
    """Returns what puts neighbouring values of `key` into one class, `by` of them on average."""
    return functools.partial(_group, key, by)


def _group(key: str, by: float, record: Record) -> int:
    return int(record[key] // by)


Parts: TypeAlias = dict[str, Any]  # of a Task
NINETY: Parts = {"train": "train[:90%]", "val": "train[90%:]"}
SIXTY: Parts = {"train": "train[:60%]", "val": "train[60%:80%]", "test": "train[80%:]"}
EIGHTY: Parts = {"train": "train[:80%]", "val": "train[80%:90%]", "test": "train[90%:]"}
CLEVR: Parts = {"name": "clevr:3.*.*", **NINETY, "test": "validation"}
DSPRITES: Parts = {"name": "dsprites:2.*.*", **EIGHTY, "classes": 16, "full_range": False}
NORB: Parts = {"name": "smallnorb:2.*.*", "val": "test[:50%]", "test": "test[50%:]"}

TASKS = {
    "caltech101": Task("natural", "caltech101:3.*.*", **NINETY),
    "cifar100": Task("natural", "cifar100:3.*.*", **NINETY),
    "dtd": Task("natural", "dtd:3.*.*"),
    "flowers102": Task("natural", "oxford_flowers102:2.*.*"),
    # Published with 3.*.*; what tfds prepares now is 4.0.0, which has mended some image files.
    "pets": Task("natural", "oxford_iiit_pet:*.*.*", "train[:80%]", "train[80%:]"),
    "sun397": Task("natural", "sun397/tfds:4.*.*"),
    "svhn": Task("natural", "svhn_cropped:3.*.*", **NINETY),
    "patch_camelyon": Task("specialized", "patch_camelyon:2.*.*"),
    "eurosat": Task("specialized", "eurosat/rgb:2.*.*", **SIXTY),
    "resisc45": Task("specialized", "resisc45:3.*.*", **SIXTY),
    "retinopathy": Task("specialized", "diabetic_retinopathy_detection/btgraham-300:3.*.*"),
    "clevr_count": Task("structured", **CLEVR, label=object_count, classes=8),
    "clevr_distance": Task("structured", **CLEVR, label=closest_object, classes=6),
    "dmlab": Task("structured", "dmlab:2.0.*"),
    "kitti_distance": Task("structured", "kitti:3.*.*", label=closest_vehicle, classes=4),
    "dsprites_location": Task("structured", **DSPRITES, label=grouped("label_x_position", 32 / 16)),
    "dsprites_orientation": Task("structured", **DSPRITES, label=grouped("label_orientation", 40 / 16)),
    "norb_azimuth": Task("structured", **NORB, key="label_azimuth"),
    "norb_elevation": Task("structured", **NORB, key="label_elevation"),
}


def vtab(split: str, task: str, data_dir: str = "") -> Source:
    """One of VTAB's tasks, its data prepared by tfds as ArrayRecord in `data_dir`.

    `split` is train800, val200 or train800val200, which make VTAB-1k; or train, val or test, which are whole. tfds
    downloads all but the images of `resisc45` and `retinopathy`, which are put in place by hand. Raises UserError
    where the data is not there, or is other than expected.
    """
    chosen = pick(TASKS, task, "task of VTAB")
    builder = tfds.opened(chosen.name, data_dir)
    if chosen.label:
        class_names, label = tuple(map(str, range(chosen.classes))), chosen.label
    else:
        class_names, label = tfds.class_names_of(builder, chosen.name, chosen.key), operator.itemgetter(chosen.key)
    image = _encoded if chosen.full_range else _stretched

    def whole(name: str) -> Source:
        words = getattr(chosen, name)
        found = tfds.records(builder, words, chosen.name, "image")
        return Prepared(found, class_names, image, label, f"{chosen.name} {words}", str(builder.data_path))

    if split in FEW:
        parts = [(whole(name), count) for name, count in zip(("train", "val"), FEW[split], strict=True) if count]
        short = [f"{count} of {len(source)}" for source, count in parts if count > len(source)]
        if short:
            raise UserError(f'split "{split}" of {task} takes {", ".join(short)} images; is the data whole?')
        return Concatenation([Selection(source, np.arange(count)) for source, count in parts])
    if split not in ("train", "val", "test"):
        raise UserError(f'a task of VTAB has no split "{split}".{did_you_mean(split, [*FEW, "train", "val", "test"])}')
    return whole(split)


def _encoded(record: Record) -> bytes:
    return record["image"]


def _stretched(record: Record) -> np.ndarray:
    return np.asarray(decode(record["image"], "dsprites")) * np.uint8(255)
