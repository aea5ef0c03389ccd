"""Makes families/*.npz: tiny models of the libraries that families come from, every tensor redrawn, run in float64.

Each file holds
  weights/NAME          the checkpoint's arrays as the library saved them;
  config, preprocessor  the JSON files beside them, as text;
  images, resized       (batch, height, width, channels), at the model's size, and at another where the library can;
  wanted/KEY, wanted_resized/KEY   what the library computes: block00, …, logits.

Run with the packages of the `parity` extra: python tests/golden/make_families.py
"""

import json
import pathlib
import re
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "parity"))

import cases  # noqa: E402
import proof  # noqa: E402

from vit_jax.weights import files, references  # noqa: E402

FOLDER = pathlib.Path(__file__).with_name("families")


def make(case):
    """Returns the arrays of one file."""
    with tempfile.TemporaryDirectory() as folder:
        place = case.make(pathlib.Path(folder))
        file = files.read(place)
        made = {f"weights/{name}": np.array(array) for name, array in file.arrays.items()}
        made |= {"config": np.array(json.dumps(file.config)), "preprocessor": np.array(json.dumps(file.preprocessor))}
        for key, wanted, size in (("images", "wanted", case.image_size), ("resized", "wanted_resized", case.resized)):
            if size:
                made[key] = proof.images(size)
                found = references.activations(str(place), case.format, made[key])
                made |= {f"{wanted}/{name}": array.astype(np.float32) for name, array in found.items()}
    return made


def main():
    """Writes the files into the folder beside this script."""
    FOLDER.mkdir(exist_ok=True)
    for case in cases.CASES:
        name = re.sub(r"\W+", "_", case.name).strip("_").lower()
        np.savez_compressed(FOLDER / f"{name}.npz", **make(case))
        print(f"{name:40} {(FOLDER / f'{name}.npz').stat().st_size / 1024:6.0f} KiB")


if __name__ == "__main__":
    main()
