"""Google's `.npz` names, proved on timm's computation: tests/golden/make_timm.py made the arrays."""

import dataclasses
import functools
import itertools
import json
import logging
import pathlib

import jax
import numpy as np
import pytest

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.weights import formats, google
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded

GOLDEN = {
    pool: dict(np.load(pathlib.Path(__file__).parent.parent / "golden" / f"vit_{pool}.npz"))
    for pool in ("class_token", "mean")
}


def weights(pool):
    return {name.removeprefix("weights/"): array for name, array in GOLDEN[pool].items() if name.startswith("weights/")}


def pre_logits(pool):
    return {name: array for name, array in GOLDEN[pool].items() if name in ("pre_logits/kernel", "pre_logits/bias")}


def load(arrays):
    return google.load(File(arrays))


def save(loaded, numbering="original"):
    recipe = dataclasses.replace(loaded.recipe, origin={"format": "google", "numbering": numbering})
    return google.save(Loaded(loaded.parameters, recipe)).arrays


@functools.cache
def forward(activation, pool, hidden=0):
    """Returns a jitted function from parameters and images to logits and intermediates."""
    loaded = load(weights(pool))
    model = models.build(**loaded.recipe.model | {"activation": activation, "pre_logits": hidden})
    return jax.jit(lambda params, images: model.apply({"params": params}, images, False, mutable=["intermediates"]))


def assert_close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("activation", ["gelu_exact", "gelu_tanh"])
@pytest.mark.parametrize("pool", GOLDEN)
def test_logits_and_every_block_are_timms(pool, activation):
    golden, loaded = GOLDEN[pool], load(weights(pool))
    logits, kept = forward(activation, pool)(loaded.parameters, golden["images"])
    assert loaded.recipe.model["size"]["depth"] == 3
    for block in ("block00", "block01", "block02"):
        assert_close(kept["intermediates"]["encoder"][block]["output"], golden[f"{activation}/{block}"])
    assert_close(logits, golden[f"{activation}/logits"])


@pytest.mark.parametrize("pool", GOLDEN)
def test_pre_logits_are_a_dense_layer_with_tanh(pool):
    loaded = load(weights(pool) | pre_logits(pool))
    assert loaded.recipe.model["pre_logits"] == 24
    logits, _ = forward("gelu_tanh", pool, 24)(loaded.parameters, GOLDEN[pool]["images"])
    assert_close(logits, GOLDEN[pool]["pre_logits/logits"])


def same_shape_pairs():
    arrays = weights("class_token")
    return [(one, two) for one, two in itertools.combinations(arrays, 2) if arrays[one].shape == arrays[two].shape]


def test_swapping_any_two_tensors_of_a_shape_shows_in_the_logits():
    arrays, golden = weights("class_token"), GOLDEN["class_token"]
    wanted, run = golden["gelu_tanh/logits"], forward("gelu_tanh", "class_token")
    tolerance, pairs, unseen = 1e-5 * max(1, np.abs(wanted).max()), same_shape_pairs(), set()
    for one, two in pairs:
        swapped = load(arrays | {one: arrays[two], two: arrays[one]}).parameters
        difference = np.abs(run(swapped, golden["images"])[0] - wanted).max()
        if difference <= 3 * tolerance:
            unseen.add((one, two))
    # A bias on the keys adds the same number to all scores of a query, and softmax does not see it.
    key_biases = [name for name in arrays if name.endswith("/key/bias")]
    assert len(pairs) > 250
    assert unseen == set(itertools.combinations(key_biases, 2))


@pytest.mark.parametrize("numbering", google.NUMBERINGS)
@pytest.mark.parametrize("pool", GOLDEN)
def test_there_and_back_is_the_same_to_the_bit(pool, numbering):
    theirs = save(load(weights(pool) | pre_logits(pool)), numbering)
    if numbering == "linen":
        assert "Transformer/encoderblock_2/LayerNorm_1/scale" in theirs
        assert not any("LayerNorm_2" in name or "_3/" in name for name in theirs)
        theirs = save(load(theirs))
    wanted = weights(pool) | pre_logits(pool)
    assert set(theirs) == set(wanted)
    assert all(theirs[name].tobytes() == array.tobytes() for name, array in wanted.items())
    assert all(theirs[name].shape == array.shape for name, array in wanted.items())


def linen(name):
    """The names that Flax linen gave the same layers, written out by hand."""
    for original, now in (
        ("/MultiHeadDotProductAttention_1/", "/MultiHeadDotProductAttention_0/"),
        ("/LayerNorm_2/", "/LayerNorm_1/"),
        ("/MlpBlock_3/", "/MlpBlock_0/"),
    ):
        name = name.replace(original, now)
    return name


def test_both_numberings_give_the_same_parameters():
    original = load(weights("class_token"))
    renumbered = load({linen(name): array for name, array in weights("class_token").items()})
    assert jax.tree.all(jax.tree.map(np.array_equal, original.parameters, renumbered.parameters))


def test_the_arrays_tell_the_facts():
    recipe = load(weights("class_token")).recipe
    assert recipe.model == {
        "size": {"width": 24, "depth": 3, "mlp_hidden": 40, "heads": 4, "patch": [4, 4]},
        "classes": 7,
        "pool": "class_token",
        "positions": "learned",
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
    }
    assert (recipe.image_size, recipe.mean, recipe.std) == ((16, 16), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert recipe.position_resize == "linear_align_corners"
    assert load(weights("mean")).recipe.model["pool"] == "mean"
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(load(weights("mean")).parameters))


@pytest.mark.parametrize(("classes", "loss"), [(21_843, "sigmoid"), (1_000, "softmax")])
def test_imagenet_21k_was_learned_by_sigmoid(classes, loss):
    head = {"head/kernel": np.ones((24, classes), np.float32), "head/bias": np.zeros(classes, np.float32)}
    assert load(weights("mean") | head).recipe.loss == loss


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("B_16-i1k-300ep-lr_0.001-aug_strong2-wd_0.1-do_0.1-sd_0.1", "sigmoid"),
        ("B_16-i1k-300ep-lr_0.001-aug_strong2-wd_0.1-do_0.1-sd_0.1--imagenet2012-steps_20k-lr_0.01-res_224", "softmax"),
        ("B_16-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0--cifar100-steps_10k-lr_0.01-res_224", "softmax"),
        ("ViT-B_16", "softmax"),
    ],
)
def test_augregs_imagenet_1k_was_learned_by_sigmoid(name, loss):
    file = File(weights("mean"), place=f"cache/-i1k-/{name}.npz")
    assert google.load(file).recipe.loss == loss


def test_half_a_head_is_refused():
    with pytest.raises(UserError, match="the weights lack: head/bias"):
        formats.load(File(without(weights("mean"), "head/bias")))


def test_a_zeroed_head_is_said(caplog):
    arrays = weights("class_token")
    with caplog.at_level(logging.WARNING):
        loaded = formats.load(File(arrays | {"head/kernel": np.zeros_like(arrays["head/kernel"])}))
    assert formats.has_zeroed_head(loaded.parameters)
    assert "all zeros" in caplog.text


def test_positions_of_a_grid_that_is_not_square_need_its_shape():
    arrays = weights("class_token")
    table = arrays["Transformer/posembed_input/pos_embedding"][:, : 1 + 2 * 5]
    arrays["Transformer/posembed_input/pos_embedding"] = table
    with pytest.raises(UserError, match=r"leaves 10 for the patches, which is not a square grid; is the file damaged"):
        load(arrays)
    recipe = dataclasses.replace(load(weights("class_token")).recipe, image_size=(8, 20))
    file = File(arrays, notes={"recipe": json.loads(recipe.to_json())})
    grid = google.load(file).parameters["positions"]["grid"]
    np.testing.assert_array_equal(grid[1, 3], table[0, 1 + 5 + 3])


def without(arrays, name):
    return {other: array for other, array in arrays.items() if other != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda arrays: arrays | {"conv_root/kernel": np.zeros((7, 7, 3, 64), np.float32)},
            "missing: gn_root/bias, gn_root/scale",
        ),
        (lambda arrays: without(arrays, "embedding/bias"), "missing: embedding/bias"),
        (lambda arrays: without(arrays, "cls"), "17 positions, 0 of them .* not a square"),
        (lambda arrays: arrays | {"stem/kernel": np.zeros(1, np.float32)}, "unknown: stem/kernel"),
        (lambda arrays: arrays | {"head/bias": np.zeros(7, np.int32)}, "floats; of another kind: head/bias int32"),
        (lambda arrays: arrays | {"cls": np.zeros((1, 24), np.float32)}, r"cls \(1, 24\) does not read as"),
        (lambda arrays: arrays | {"head/kernel": np.zeros(24, np.float32)}, r"head/kernel has shape \(24,\), wanted"),
        (lambda arrays: {}, "missing: Transformer/encoder_norm/bias, .* and .* more"),
        (lambda arrays: {linen(n) if "block_1" in n else n: a for n, a in arrays.items()}, "missing: .* and .* more"),
    ],
    ids=["no stem", "missing", "no class token", "unknown", "integers", "rank", "damaged", "empty", "mixed numbering"],
)
def test_what_is_no_plain_vision_transformer_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        load(change(weights("class_token")))
