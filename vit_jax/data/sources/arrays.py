"""Images in a NumPy archive."""

import posixpath
import zlib
from zipfile import BadZipFile

import numpy as np

from vit_jax.data import storage
from vit_jax.data.examples import Arrays, Source
from vit_jax.errors import UserError


def arrays(split: str, path: str) -> Source:
    """A NumPy archive (.npz): `images`, `labels` and, if wished, `class_names`, shaped as `Arrays` wants them.

    These make one split, "all", to be cut as `all[:90%]` and `all[90%:]`. An archive with splits of its own prefixes
    the names: `train_images`, `train_labels`, `test_images`, ...
    """
    try:
        with storage.open_for_reading(path) as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError(f'"{path}" is a single array; write images and labels with numpy.savez')
            return _from_archive(archive, split, path)
    except UserError:
        raise
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
        every = [archive[key] for key in archive if key.endswith("labels")]
        counted = [each for each in every if each.size and np.issubdtype(each.dtype, np.integer)]
        names = [str(label) for label in range(max((int(each.max()) for each in counted), default=0) + 1)]
    return Arrays(archive[images], archive[labels], names, f"{posixpath.basename(path)} {split}")
