"""Every family of checkpoints, against what its own library computed: tests/golden/make_families.py made the arrays."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from vit_jax import models
from vit_jax.evaluate import certificate
from vit_jax.models import counts
from vit_jax.weights import adapt, formats
from vit_jax.weights.files import File

FAMILIES = sorted((Path(__file__).parents[1] / "golden" / "families").glob("*.npz"))


def read(path):
    """Returns the checkpoint in a golden file, and all else that is in it."""
    golden = dict(np.load(path))
    arrays = {
        name.removeprefix("weights/"): array.view(ml_dtypes.bfloat16) if array.dtype == "V2" else array
        for name, array in golden.items()
        if name.startswith("weights/")
    }
    config, preprocessor = (json.loads(str(golden[name])) for name in ("config", "preprocessor"))
    return File(arrays, config, preprocessor), golden


def wanted(golden, key):
    return {name.removeprefix(f"{key}/"): array for name, array in golden.items() if name.startswith(f"{key}/")}


@pytest.fixture(params=FAMILIES, ids=lambda path: path.stem)
def family(request):
    return read(request.param)


def test_there_are_families():
    assert len(FAMILIES) >= 20


def test_blocks_and_logits_are_the_librarys(family):
    file, golden = family
    loaded = formats.load(file)
    model = models.build(**loaded.recipe.model)
    found = certificate.activations(model, loaded.parameters, golden["images"])
    differences = certificate.differences(found, wanted(golden, "wanted"))
    assert list(differences)[-1] == "logits" and len(differences) >= 3
    assert certificate.first_departure(differences) is None, differences


@pytest.mark.slow
def test_at_another_size_they_are_the_librarys_too(family):
    file, golden = family
    if "resized" not in golden:
        pytest.skip("the library takes no other size")
    loaded = formats.load(file)
    model = models.build(**loaded.recipe.model)
    shapes = counts.shapes(model, golden["resized"].shape[1:3])
    parameters = adapt.fit(loaded.parameters, shapes, loaded.recipe.position_resize)
    found = certificate.activations(model, parameters, golden["resized"])
    differences = certificate.differences(found, wanted(golden, "wanted_resized"))
    assert certificate.first_departure(differences) is None, differences


def test_written_back_it_is_the_same_to_the_bit(family):
    file, golden = family
    loaded = formats.load(file)
    back = formats.save(loaded, loaded.recipe.origin["format"])
    aside = tuple(golden["left_aside"])
    kept = {name: array for name, array in file.arrays.items() if not name.startswith(aside)}
    assert {name for name in back.arrays if not name.startswith(aside)} == set(kept)
    for name, array in kept.items():
        assert (back.arrays[name].dtype, back.arrays[name].shape) == (array.dtype, array.shape), name
        assert np.ascontiguousarray(back.arrays[name]).tobytes() == np.ascontiguousarray(array).tobytes(), name
