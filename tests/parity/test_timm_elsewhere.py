"""Weights that are not timm's, written for it, compute there what they compute here."""

from pathlib import Path

import numpy as np
import pytest

from vit_jax.weights import files, formats, references
from vit_jax.weights.files import File

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
