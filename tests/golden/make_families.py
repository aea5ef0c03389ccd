"""Makes families/*.npz: tiny models of the libraries that families come from, every tensor redrawn, run in float64.

Each file holds
  weights/NAME          the checkpoint's arrays as the library saved them;
  config, preprocessor  the JSON files beside them, as text;
  left_aside            what begins the names of arrays that are no part of the encoder;
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

# One for each part that a family adds to another, and each form of a file; the parity tests prove all cases.
NAMES = (
    "google_pre_training",
    "big_vision_fixed_positions",
    "big_vision_scan",
    "big_vision_bfloat16",
    "lit",
    "siglip_2_scan",
    "timm_vit",
    "timm_vit_with_norms_of_queries_and_keys",
    "timm_deit_distilled",
    "timm_deit_iii",
    "timm_dinov2_with_registers",
    "timm_dinov2_giant",
    "timm_dinov3_plus",
    "timm_eva_02_base",
    "timm_eva_02_small",
    "timm_clip_openai_s",
    "timm_siglip",
    "timm_mae",
    "transformers_vit",
    "transformers_vit_with_a_pooler",
    "transformers_deit_distilled",
    "transformers_dinov2_in_bfloat16",
    "transformers_dinov2_with_registers_and_a_classifier",
    "transformers_dinov2_with_swiglu",
    "transformers_dinov3",
    "transformers_mae",
    "transformers_clip_s_vision_tower_with_its_projection",
    "transformers_clip_with_a_classifier",
    "transformers_siglip_both_towers",
)
FOLDER = pathlib.Path(__file__).with_name("families")


def make(case):
    """Returns the arrays of one file."""
    with tempfile.TemporaryDirectory() as folder:
        place = case.make(pathlib.Path(folder))
        file = files.read(place)
        made = {f"weights/{name}": np.array(array) for name, array in file.arrays.items()}
        made["left_aside"] = np.array(case.left_aside, str)
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
    named = {re.sub(r"\W+", "_", case.name).strip("_").lower(): case for case in cases.CASES}
    for name in NAMES:
        np.savez_compressed(FOLDER / f"{name}.npz", **make(named[name]))
        print(f"{name:60} {(FOLDER / f'{name}.npz').stat().st_size / 1024:6.0f} KiB")


if __name__ == "__main__":
    main()
