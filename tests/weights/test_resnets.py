"""Google's names of hybrids and BiT, proved on timm's computation: tests/golden/make_resnets.py made the arrays."""

import functools
import pathlib
from types import ModuleType

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts
from vit_jax.weights import adapt, bit, formats, google
from vit_jax.weights.files import File

READERS: dict[str, ModuleType] = {"hybrid": google, "hybrid_root": google, "bit": bit}
GOLDEN = {name: dict(np.load(pathlib.Path(__file__).parent.parent / "golden" / f"{name}.npz")) for name in READERS}
# What timm computes with; its layer norms are the only ones that agree with the published models'.
TIMM = {
    google: {"activation": "gelu_exact", "standardization": "timm", "stem_norm_epsilon": 1e-5},
    bit: {"standardization": "timm"},
}


def weights(name):
    return {key.removeprefix("weights/"): array for key, array in GOLDEN[name].items() if key.startswith("weights/")}


def load(name, changes=()):
    return READERS[name].load(File(weights(name) | dict(changes)))


@functools.cache
def forward(name, standardization="timm"):
    """Returns a jitted function from parameters and images to logits and intermediates."""
    options = load(name).recipe.model | TIMM[READERS[name]] | {"standardization": standardization}
    model = models.build(**options)
    return jax.jit(lambda params, images: model.apply({"params": params}, images, False, mutable=["intermediates"]))


def tolerance(wanted):
    return 1e-5 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("name", READERS)
def test_logits_and_all_that_leads_to_them_are_timms(name):
    golden, loaded = GOLDEN[name], load(name)
    logits, state = forward(name)(loaded.parameters, golden["images"])
    kept = flatten_dict(state["intermediates"], sep="/")
    kept |= {path.removeprefix("stem/").removeprefix("encoder/"): value for path, value in kept.items()}
    wanted = {key.removeprefix("timm/"): array for key, array in golden.items() if key.startswith("timm/")}
    np.testing.assert_allclose(logits, wanted.pop("logits"), rtol=0, atol=tolerance(golden["timm/logits"]))
    assert len(wanted) == {"hybrid": 6, "hybrid_root": 3, "bit": 3}[name]
    for place, array in wanted.items():
        found = kept[f"{place}/output"][: len(array)]  # of units the first image alone
        np.testing.assert_allclose(found, array, rtol=0, atol=tolerance(array), err_msg=place)


def test_each_standardization_is_its_own():
    golden, parameters = GOLDEN["bit"], load("bit").parameters
    for kind, other in (("timm", "bit"), ("bit", "timm")):
        logits, wanted = forward("bit", kind)(parameters, golden["images"])[0], golden[f"{kind}/logits"]
        np.testing.assert_allclose(logits, wanted, rtol=0, atol=tolerance(wanted))
        assert np.abs(logits - golden[f"{other}/logits"]).max() > 3 * tolerance(wanted)


@pytest.mark.parametrize("name", READERS)
def test_a_tensor_in_another_ones_place_shows_in_the_logits(name):
    """Each in its turn, in the place of the next of its shape; one that is alone in its shape, back to front."""
    arrays, wanted = weights(name), GOLDEN[name]["timm/logits"]
    rows, unseen = [row for row in arrays if not row.startswith("Transformer/encoderblock")], []
    for row in rows:
        alike = [other for other in rows if arrays[other].shape == arrays[row].shape]
        other = alike[(alike.index(row) + 1) % len(alike)]
        changes = {row: arrays[other], other: arrays[row]} if other != row else {row: np.flip(arrays[row])}
        logits, _ = forward(name)(load(name, changes).parameters, GOLDEN[name]["images"])
        if np.abs(logits - wanted).max() <= 3 * tolerance(wanted):
            unseen.append(row)
    assert len(rows) == {"hybrid": 3 + 3 * 9 + 2 * 3 + 8, "hybrid_root": 3 + 8, "bit": 1 + 3 * 9 + 2 + 4}[name]
    assert unseen == []


@pytest.mark.parametrize("name", READERS)
def test_there_and_back_is_the_same_to_the_bit(name):
    theirs, wanted = READERS[name].save(load(name)).arrays, weights(name)
    assert set(theirs) == set(wanted)
    assert all(theirs[row].tobytes() == array.tobytes() for row, array in wanted.items())
    assert all(theirs[row].shape == array.shape for row, array in wanted.items())


def test_norms_without_the_axes_of_a_map_are_read_and_written_so():
    published = weights("hybrid")
    flat = {
        row: array.reshape(-1) if "/gn" in row or row.startswith("gn_") else array for row, array in published.items()
    }
    assert sum(flat[row].shape != published[row].shape for row in flat) == 2 * (1 + 3 * 3 + 2)
    loaded = google.load(File(flat))
    jax.tree.map(np.testing.assert_array_equal, loaded.parameters, load("hybrid").parameters)
    assert {row: array.shape for row, array in google.save(loaded).arrays.items()} == {
        row: array.shape for row, array in flat.items()
    }


def test_the_arrays_tell_the_facts():
    loaded = load("hybrid")
    stem = {"units": [2, 1], "width": 32}
    size = {"width": 24, "depth": 3, "mlp_hidden": 40, "heads": 4, "patch": [1, 1], "stem": stem}
    assert loaded.recipe.model == {
        "size": size,
        "classes": 7,
        "pool": "class_token",
        "positions": "learned",
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
        "standardization": "google",
        "stem_norm_epsilon": 1e-6,
    }
    assert (loaded.recipe.image_size, loaded.recipe.position_resize) == ((32, 32), "linear_align_corners")
    root = load("hybrid_root")
    assert root.recipe.model["size"] == size | {"patch": [2, 2], "stem": {"units": [], "width": 32}}
    assert root.recipe.image_size == (32, 32)
    assert load("bit").recipe.model == {
        "size": stem,
        "classes": 7,
        "standardization": "bit",
        "norm_epsilon": 1e-5,
    }


def test_a_bit_that_was_pre_trained_saw_smaller_images():
    head = {"resnet/head/conv2d/kernel": (1, 1, 256, 21_843), "resnet/head/conv2d/bias": (21_843,)}
    loaded = load("bit", {row: np.zeros(shape, np.float32) for row, shape in head.items()})
    assert (loaded.recipe.image_size, loaded.recipe.model["classes"]) == ((224, 224), 21_843)
    assert formats.has_zeroed_head(loaded.parameters)
    assert load("bit").recipe.image_size == (480, 480)
    assert not formats.has_zeroed_head(load("bit").parameters)
    assert loaded.recipe.mean == loaded.recipe.std == (0.5, 0.5, 0.5)


def test_numbered_convolutions_of_bit_are_the_same():
    """As big_vision found them in some of the published files."""
    numbered = {
        row.replace("standardized_conv2d", f"standardized_conv2d_{number}") if "unit" in row else row: array
        for number, (row, array) in enumerate(weights("bit").items())
    }
    assert set(numbered) != set(weights("bit"))
    assert jax.tree.all(jax.tree.map(np.array_equal, bit.load(File(numbered)).parameters, load("bit").parameters))


def test_units_beyond_nine():
    units = (1, 12)
    tables = (
        (google, google.stem_rows(units), "block2/unit12/gn1/bias"),
        (bit, bit.rows(units), "unit12/b/group_norm"),
    )
    for module, rows, last in tables:
        assert len({row.theirs for row in rows}) == len({row.ours for row in rows}) == len(rows)
        assert any(last in row.theirs and "stage2/unit12/" in row.ours for row in rows), module
    arrays = weights("bit")
    first = {row: array for row, array in arrays.items() if "block1/unit02" in row}
    deep = {row.replace("unit02", f"unit{unit:02}"): array for unit in range(3, 13) for row, array in first.items()}
    assert bit.load(File(arrays | deep)).recipe.model["size"] == {"units": [12, 1], "width": 32}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("hybrid", {"block1/unit2/conv1/kernel": None}, "missing: block1/unit2/conv1/kernel"),
        ("hybrid", {"block1/unit4/conv1/kernel": np.zeros(1, np.float32)}, "unknown: block1/unit4/conv1/kernel"),
        ("hybrid", {"block1/unit1/gn1/bias": np.zeros(32, np.float32)}, r"gn1/bias \(32,\) does not read as"),
        ("hybrid", {"conv_root/kernel": np.zeros(3, np.float32)}, r"stem/root/kernel has shape \(3,\), wanted"),
        ("bit", {"resnet/group_norm/beta": None}, "missing: resnet/group_norm/beta"),
        ("bit", {"resnet/head/conv2d/bias": np.zeros(7, int)}, "floats; of another kind"),
        ("bit", {bit.ROOT: np.zeros(3, np.float32)}, r"root.* has shape \(3,\), wanted \(7, 7, 3, width\)"),
    ],
)
def test_what_is_not_whole_is_refused(name, change, message):
    arrays = {row: array for row, array in (weights(name) | change).items() if array is not None}
    with pytest.raises(UserError, match=message):
        READERS[name].load(File(arrays))


def test_a_hybrids_positions_lie_on_its_map():
    """At 32x32 pixels a place of the map every 8 of them: 4x4; at 40x24 pixels 5x3."""
    loaded = load("hybrid")
    model = models.build(**loaded.recipe.model | {"classes": 5})
    fitted = adapt.fit(loaded.parameters, counts.shapes(model, (40, 24)), loaded.recipe.position_resize)
    before, after = loaded.parameters["positions"]["grid"], fitted["positions"]["grid"]
    assert (before.shape, after.shape) == ((4, 4, 24), (5, 3, 24))
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        np.testing.assert_allclose(after[row, column], before[row, column], atol=1e-5)
    np.testing.assert_allclose(after[2, 1], before[1:3, 1:3].mean((0, 1)), atol=1e-5)  # both centres
    jax.tree.map(np.testing.assert_array_equal, fitted["stem"], loaded.parameters["stem"])
    assert fitted["head"]["kernel"].shape == (24, 5)
