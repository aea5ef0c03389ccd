"""The masked autoencoder: what its encoder sees, and what it is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import models, objectives
from vit_jax.errors import UserError
from vit_jax.objectives import Objective, patches
from vit_jax.objectives.masked_autoencoder import MaskedAutoencoder, restored, standardized

HALF = (0.5, 0.5, 0.5)
SIZE = {"width": 8, "depth": 1, "mlp_hidden": 8, "heads": 1, "patch": (4, 4)}
DECODER = {"decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}


def masked_autoencoder(pool: str = "class_token", positions: str = "sincos2d", **options) -> MaskedAutoencoder:
    model = models.build(SIZE, classes=0, pool=pool, positions=positions)
    objective = objectives.build(model, HALF, HALF, "masked_autoencoder", **DECODER | options)
    assert isinstance(objective, Objective)
    return objective


def noise(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, shape), jnp.uint8)


def spot(patch: int, columns: int = 4):
    """The pixels of a patch of 4 x 4 in an image so many patches wide."""
    row, column = 4 * (patch // columns), 4 * (patch % columns)
    return np.s_[:, row : row + 4, column : column + 4]


def test_patches_are_cut_row_by_row():
    image = jnp.arange(4 * 6).reshape(1, 4, 6, 1)
    expected = [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11], [12, 13, 14, 18, 19, 20], [15, 16, 17, 21, 22, 23]]
    assert patches.cut(image, (2, 3))[0, ..., 0].tolist() == expected
    assert patches.count(image, (2, 3)) == 4


def test_a_patch_lies_where_the_model_has_it():
    """A change to patch i of the image changes embedding i of the model alone."""
    model = models.build(SIZE, classes=0, positions="none", pool="mean")
    image = jnp.zeros((1, 8, 12, 3))
    parameters = models.initial(model, jax.random.key(0), (8, 12))

    def embedded(image) -> np.ndarray:
        return np.asarray(model.apply({"params": parameters}, image, method="embed")).reshape(6, 8)

    cut = patches.cut(image, (4, 4))
    for patch in range(6):
        changed = image.at[spot(patch, columns=3)].add(1.0)
        assert set(np.flatnonzero(np.any(embedded(changed) != embedded(image), axis=1))) == {patch}
        assert set(np.flatnonzero(np.any(patches.cut(changed, (4, 4)) != cut, axis=(0, 2, 3)))) == {patch}


def test_three_quarters_are_hidden_evenly():
    prepared = masked_autoencoder().prepare({"image": jnp.zeros((512, 56, 56, 3), jnp.uint8)}, jax.random.key(0))
    hidden, visible = np.asarray(prepared["hidden"]), np.asarray(prepared["visible"])
    assert (hidden.shape, visible.shape) == ((512, 147), (512, 49))
    both = np.sort(np.concatenate([hidden, visible], axis=1), axis=1)
    np.testing.assert_array_equal(both, np.tile(np.arange(196), (512, 1)))
    shares = np.bincount(hidden.reshape(-1), minlength=196) / 512
    assert np.abs(shares - 0.75).max() < 5 * np.sqrt(0.75 * 0.25 / 512)


@pytest.mark.parametrize(("pool", "prefix"), [("class_token", 1), ("mean", 0)])
def test_the_encoder_never_sees_what_is_hidden(pool: str, prefix: int):
    objective = masked_autoencoder(pool)
    parameters = objective.initial(jax.random.key(0), (16, 16))
    prepared = objective.prepare({"image": noise(1, 16, 16, 3)}, jax.random.key(0))
    visible = np.asarray(prepared["visible"])[0]

    @jax.jit
    def encoded(image):
        given = image, prepared["visible"], False
        return objective.autoencoder.apply({"params": parameters}, *given, method="encode_visible")

    before = encoded(prepared["image"])
    assert before.shape == (1, prefix + 4, 8)
    for patch in range(16):
        after = encoded(prepared["image"].at[spot(patch)].add(1.0))
        assert np.array_equal(after, before) == (patch not in visible)


def test_the_encoder_is_the_models_own_where_all_is_visible():
    objective = masked_autoencoder(positions="learned")
    parameters = objective.initial(jax.random.key(0), (16, 16))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)
    everything = jnp.tile(jnp.arange(16), (2, 1))
    tokens = objective.autoencoder.apply({"params": parameters}, images, everything, False, method="encode_visible")
    whole = models.apply(objective.model, parameters["model"], images)
    np.testing.assert_allclose(tokens[:, 0], whole, atol=1e-6)


def test_the_order_of_the_image_is_restored():
    seen = jnp.array([[[30.0], [10.0]], [[0.0], [20.0]]])
    visible, hidden = jnp.array([[3, 1], [0, 2]]), jnp.array([[0, 2], [3, 1]])
    found = restored(seen, jnp.array([-1.0]), visible, hidden)
    assert found[..., 0].tolist() == [[-1, 10, -1, 30], [0, -1, 20, -1]]


def test_a_patch_is_standardised_by_itself():
    pixels = np.random.default_rng(0).normal(3, 2, (2, 3, 16, 3)).astype(np.float32)
    flat = pixels.reshape(2, 3, 48).astype(np.float64)
    expected = (flat - flat.mean(-1, keepdims=True)) / np.sqrt(flat.var(-1, keepdims=True, ddof=1) + 1e-6)
    np.testing.assert_allclose(standardized(jnp.asarray(pixels)).reshape(2, 3, 48), expected, atol=1e-5)
    assert not np.any(standardized(jnp.ones((1, 1, 16, 3))))


@pytest.mark.parametrize("normalized", [True, False])
def test_only_hidden_patches_are_asked_for(normalized: bool):
    """A prediction that looks at nothing is compared with the pixels of hidden patches alone."""
    objective = masked_autoencoder(normalized=normalized)
    parameters = objective.initial(jax.random.key(0), (16, 16))
    parameters["prediction"]["kernel"] *= 0
    bias = np.linspace(-1, 1, 48, dtype=np.float32)
    parameters["prediction"]["bias"] += jnp.asarray(bias)
    prepared = objective.prepare({"image": noise(2, 16, 16, 3)}, jax.random.key(0))
    pixels = np.asarray(patches.cut(prepared["image"], (4, 4))).reshape(2, 16, 48)
    if normalized:
        pixels = (pixels - pixels.mean(-1, keepdims=True)) / pixels.std(-1, keepdims=True, ddof=1)
    hidden = np.take_along_axis(pixels, np.asarray(prepared["hidden"])[..., None], axis=1)
    found = objective.losses(parameters, prepared, None)["loss"]
    np.testing.assert_allclose(found, np.square(hidden - bias).mean(axis=(1, 2)), rtol=1e-4)


def test_a_prediction_is_that_of_its_own_patch():
    """Without attention's mixing a hidden patch differs from the next by its position alone, in the order asked."""
    objective = masked_autoencoder()
    parameters = objective.initial(jax.random.key(0), (16, 16))
    images = jnp.zeros((1, 16, 16, 3))
    visible, hidden = jnp.array([[0, 5, 10, 15]]), jnp.array([[1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14]])

    def predicted(hidden) -> np.ndarray:
        return np.asarray(objective.autoencoder.apply({"params": parameters}, images, visible, hidden, False))[0]

    forwards, backwards = predicted(hidden), predicted(hidden[:, ::-1])
    np.testing.assert_allclose(forwards, backwards[::-1], atol=1e-6)
    assert len(np.unique(forwards.round(5), axis=0)) == 12


@pytest.mark.parametrize("pool", ["class_token", "mean"])
def test_gradients_reach_all_that_is_learned(pool: str):
    objective = masked_autoencoder(pool, positions="learned")
    parameters = objective.initial(jax.random.key(0), (16, 16))
    assert set(parameters) == {"model", "mask", "decoder_embedding", "decoder", "prediction"}
    prepared = objective.prepare({"image": noise(8, 16, 16, 3)}, jax.random.key(0))
    gradients = jax.jit(jax.grad(lambda learned: objective.losses(learned, prepared, None)["loss"].mean()))(parameters)
    for encoder in (gradients["model"]["encoder"], gradients["decoder"]):
        encoder["block00"]["attention"]["key"].pop("bias")  # which softmax ignores
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_the_papers_decoder_by_default():
    """Section 4.1 and the published code: width 512, 8 blocks, 16 heads, MLPs of 2,048; no position is learned."""
    model = models.build("B/16", classes=0, positions="sincos2d")
    objective = MaskedAutoencoder(model, HALF, HALF)
    shapes = jax.eval_shape(lambda: objective.initial(jax.random.key(0), (224, 224)))
    block = 4 * (512 * 512 + 512) + 512 * 2048 + 2048 + 2048 * 512 + 512 + 4 * 512
    decoder = 768 * 512 + 512 + 512 + 8 * block + 2 * 512 + 512 * 768 + 768
    headless = 86_567_656 - 769_000  # B/16 as published, less its head
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == headless - 197 * 768 + decoder == 111_655_680


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masked": 0.01}, "objective.masked 0.01 takes 0 of an image's 16 patches"),
        ({"decoder_heads": 3}, "width 8 does not divide among 3 heads"),
        ({"decoder_depht": 3}, 'Did you mean "decoder_depth"'),
        ({"pool": "map"}, "trains no pool"),
    ],
)
def test_a_wrong_option_is_named(options, message: str):
    with pytest.raises(UserError, match=message):
        masked_autoencoder(**options).prepare({"image": noise(1, 16, 16, 3)}, jax.random.key(0))
