"""Files that are nearly timm's are read as it reads them; weights that are not its own run in it."""

from pathlib import Path

import cases_timm
import jax
import numpy as np
import proof
import pytest
import torch

from vit_jax import models
from vit_jax.models import counts
from vit_jax.weights import files, formats, references
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded
from vit_jax.weights.recipe import Recipe

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", ["vit_class_token", "vit_mean"])
def test_a_vision_transformer_of_googles_runs_in_timm(name, tmp_path):
    golden = np.load(GOLDEN / f"{name}.npz")
    weights = {key.removeprefix("weights/"): golden[key] for key in golden.files if key.startswith("weights/")}
    files.write(formats.save(formats.load(File(weights)), "timm"), tmp_path / "timm")
    found = references.activations(str(tmp_path / "timm"), "timm", golden["images"])
    assert len(found) == 4
    for part, array in found.items():
        wanted = golden[f"gelu_tanh/{part}"]
        assert np.abs(array - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())


def test_registers_beside_a_class_token_that_has_a_position_run_in_timm(tmp_path):
    size = {"width": 24, "depth": 2, "mlp_hidden": 96, "heads": 2, "patch": [4, 4]}
    options = {"size": size, "classes": 0, "registers": 3, "layer_scale": 1e-5, "activation": "gelu_exact"}
    random, shapes = np.random.default_rng(0), counts.shapes(models.build(**options), (16, 24))
    parameters = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32) / 4, shapes)
    numbers = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "image_size": (16, 24)}
    words = {"loss": "", "class_names": (), "position_resize": "cubic", "source": "", "preprocess": {"kind": "squash"}}
    loaded = Loaded(parameters, Recipe(model={"pool": "class_token", **options}, **numbers, **words))
    files.write(formats.save(loaded, "timm"), tmp_path / "timm")

    pixels = proof.images((16, 24))
    found = references.activations(str(tmp_path / "timm"), "timm", pixels)
    assert proof.difference(proof.activations(loaded, pixels), found) <= proof.TOLERANCE
    again = proof.activations(formats.load(files.read(tmp_path / "timm")), pixels)
    assert proof.difference(again, found) <= proof.TOLERANCE


@pytest.mark.parametrize("architecture", ["vit_small_patch14_reg4_dinov2", "vit_giant_patch14_reg4_dinov2"])
def test_a_file_of_dinov2_is_read_as_timm_reads_it(architecture, tmp_path):
    cases_timm.make(tmp_path, architecture, **cases_timm.SMALL | {"num_classes": 0})
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in files.read(tmp_path).arrays.items()}
    tensors["register_tokens"] = tensors.pop("reg_token")
    tensors["pos_embed"] = torch.cat([torch.full((1, 1, 24), 0.01), tensors["pos_embed"]], dim=1)
    tensors["mask_token"] = torch.ones(1, 24)
    if "giant" in architecture:
        tensors = {
            name.replace("mlp.fc1.", "mlp.w12.").replace("mlp.fc2.", "mlp.w3."): tensor
            for name, tensor in tensors.items()
        }
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")

    pixels = proof.images((16, 16))
    found = proof.activations(formats.load(files.read(tmp_path)), pixels)
    wanted = references.activations(str(tmp_path), "timm", pixels)
    assert proof.difference(found, wanted) <= proof.TOLERANCE
