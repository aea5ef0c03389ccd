"""Where images come from: a table of kinds, each a random-access source with a length and class names."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from vit_jax.data.examples import Arrays, Example, Source
from vit_jax.data.folder import folder
from vit_jax.data.fractals import fractals
from vit_jax.data.prepared import tfds
from vit_jax.data.splits import sliced
from vit_jax.data.vtab import vtab
from vit_jax.errors import UserError, construct, did_you_mean, pick

__all__ = ["SOURCES", "Arrays", "Example", "Source", "build"]


def build(kind: str, split: str, **options: Any) -> Source:
    """Returns the part `split` ("train", "train[:98%]", ...) of the data that `kind` and `options` describe.

    Raises UserError for an unknown kind, an option that the kind does not read, or data that is not there.

    >>> len(build("digits", "train", labels=100))
    100
    """
    return construct(pick(SOURCES, kind, "kind of data"), f'data "{kind}"', split, **options)


def digits(split: str, labels: int = 0) -> Source:
    """The 1,797 handwritten digits that come with scikit-learn: 8 x 8, grey, 10 classes.

    The splits are fixed for good: test has 50 of each class, val 20, train the other 1,097. `labels` keeps only that
    many training examples, as many of each class; a smaller budget lies within a larger one, and 0 keeps all.
    """
    from sklearn.datasets import load_digits

    pixels, targets = load_digits(return_X_y=True)
    sizes = {"test": 500, "val": 200, "train": 1097}
    if split not in sizes:
        raise UserError(f'digits has no split "{split}".{did_you_mean(split, sizes)}')
    if not 0 <= labels <= sizes["train"]:
        raise UserError(f"digits has {sizes['train']} training examples, not {labels}; 0 takes them all")

    shuffled = np.random.RandomState(0).permutation(len(targets))
    in_turn = shuffled[np.argsort(_depth_in_class(targets[shuffled]), kind="stable")]
    chosen = dict(zip(sizes, np.split(in_turn, np.cumsum(list(sizes.values()))[:-1]), strict=True))[split]
    if split == "train" and labels:
        chosen = chosen[:labels]
    images = np.round(pixels[chosen].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return Arrays(images, targets[chosen], [str(digit) for digit in range(10)], f"digits {split}")


def _depth_in_class(labels: np.ndarray) -> np.ndarray:
    """Returns how many examples of the same class come before each example."""
    depth = np.zeros(len(labels), int)
    for label in np.unique(labels):
        depth[labels == label] = np.arange((labels == label).sum())
    return depth


def arrays(split: str, path: str) -> Source:
    """A NumPy archive (.npz): `images`, `labels` and, if wished, `class_names`, shaped as `Arrays` wants them.

    These make one split, "all", to be cut as `all[:90%]` and `all[90%:]`. An archive with splits of its own prefixes
    the names: `train_images`, `train_labels`, `test_images`, ...
    """
    try:
        archive = np.load(Path(path).expanduser(), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UserError(f'"{path}" is a single array; write images and labels with numpy.savez')
        with archive:
            return _from_archive(archive, split, path)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f'"{path}" does not exist; give the path of an .npz archive') from None
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(f'"{path}" is no .npz archive of plain arrays ({error}); write one with numpy.savez') from None


def _from_archive(archive: np.lib.npyio.NpzFile, split: str, path: str) -> Source:
    images, labels = ("images", "labels") if split == "all" else (f"{split}_images", f"{split}_labels")
    if images not in archive or labels not in archive:
        splits = ["all"] * ("images" in archive) + [key[:-7] for key in archive if key.endswith("_images")]
        known = f"it has the split {', '.join(splits)}" if splits else f"it holds {', '.join(archive)}"
        raise UserError(f'"{path}" has no {images} and {labels}; {known}')
    if "class_names" in archive:
        names = archive["class_names"].tolist()
    else:
        # Every split must agree on the classes, also one that lacks some of them.
        largest = max(int(archive[key].max()) for key in archive if key.endswith("labels"))
        names = [str(label) for label in range(largest + 1)]
    return Arrays(archive[images], archive[labels], names, f"{Path(path).name} {split}")


SOURCES: dict[str, Callable[..., Source]] = {
    "arrays": sliced(arrays),
    "digits": sliced(digits),
    "folder": sliced(folder),
    "fractals": sliced(fractals),
    "tfds": tfds,  # cuts its splits itself, in the same words
    "vtab": vtab,  # has splits of its own
}
