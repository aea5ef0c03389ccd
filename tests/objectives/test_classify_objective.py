"""What is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vit_jax import models
from vit_jax.data import augment
from vit_jax.errors import UserError
from vit_jax.objectives.classify import Classification, sigmoid_cross_entropy, softmax_cross_entropy

MODEL = models.build(
    {"width": 8, "depth": 1, "mlp_hidden": 8, "heads": 1, "patch": (4, 4)}, classes=4, pool="mean", positions="none"
)
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


def batch():
    draw = np.random.default_rng(0)
    return {
        "image": jnp.asarray(draw.integers(0, 256, (6, 4, 4, 3)), jnp.uint8),
        "label": jnp.asarray([0, 1, 2, 3, 0, 1], jnp.int32),
    }


def logits_and_targets():
    draw = np.random.default_rng(1)
    return draw.normal(size=(6, 4)).astype(np.float32), draw.dirichlet(np.ones(4), 6).astype(np.float32)


def test_softmax_cross_entropy_is_the_formula():
    logits, targets = logits_and_targets()
    expected = -(targets * scipy.special.log_softmax(logits, axis=1)).sum(axis=1)
    np.testing.assert_allclose(softmax_cross_entropy(jnp.asarray(logits), jnp.asarray(targets)), expected, rtol=1e-5)


def test_sigmoid_cross_entropy_is_summed_over_classes():
    logits, targets = logits_and_targets()
    chance = scipy.special.expit(logits.astype(np.float64))
    expected = -(targets * np.log(chance) + (1 - targets) * np.log(1 - chance)).sum(axis=1)
    np.testing.assert_allclose(sigmoid_cross_entropy(jnp.asarray(logits), jnp.asarray(targets)), expected, rtol=1e-5)


def test_images_are_normalised_by_channel():
    prepared = Classification(MODEL, MEAN, STD).prepare(batch(), jax.random.key(0))
    expected = (np.asarray(batch()["image"]) / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(prepared["image"], expected, atol=1e-6)
    np.testing.assert_array_equal(prepared["target"], np.eye(4)[np.asarray(batch()["label"])])


def test_label_smoothing_spreads_a_share_over_all_classes():
    prepared = Classification(MODEL, MEAN, STD, label_smoothing=0.2).prepare(batch(), jax.random.key(0))
    expected = 0.8 * np.eye(4)[np.asarray(batch()["label"])] + 0.2 / 4
    np.testing.assert_allclose(prepared["target"], expected, atol=1e-6)


def test_mixup_blends_an_image_and_its_target_alike():
    plain = Classification(MODEL, MEAN, STD).prepare(batch(), jax.random.key(0))
    mixed = Classification(MODEL, MEAN, STD, mixup=0.5).prepare(batch(), jax.random.key(0))
    target = np.asarray(mixed["target"])
    share = target[0, 0]  # its neighbour, the last, has label 1
    assert 0.5 <= share < 1
    np.testing.assert_allclose(target.sum(axis=1), 1, atol=1e-6)
    image = np.asarray(plain["image"])
    np.testing.assert_allclose(mixed["image"], share * image + (1 - share) * np.roll(image, 1, axis=0), atol=1e-5)


def test_cutmix_and_mixup_take_turns():
    """CutMix leaves every pixel as it was in one of two images, mixup none."""
    plain = np.asarray(Classification(MODEL, MEAN, STD).prepare(batch(), jax.random.key(0))["image"])
    before = np.roll(plain, 1, axis=0)

    def whole_pixels(seed: int, **strengths) -> bool:
        image = np.asarray(
            Classification(MODEL, MEAN, STD, **strengths).prepare(batch(), jax.random.key(seed))["image"]
        )
        return bool(((image == plain) | (image == before)).all())

    assert all(whole_pixels(seed, cutmix=1.0) for seed in range(5))
    assert not any(whole_pixels(seed, mixup=1.0) for seed in range(5))
    cuts = sum(whole_pixels(seed, cutmix=1.0, mixup=1.0) for seed in range(40))
    assert 8 <= cuts <= 32


def test_mixup_draws_from_a_folded_beta():
    images, targets = jnp.ones((2, 1, 1, 1)), jnp.eye(2)
    shares = [float(augment.mixup(images, targets, 0.3, jax.random.key(i))[1][0, 0]) for i in range(300)]
    draws = np.random.default_rng(0).beta(0.3, 0.3, 100_000)
    assert np.mean(shares) == pytest.approx(np.maximum(draws, 1 - draws).mean(), abs=0.03)


def test_the_loss_of_a_zero_head_is_that_of_a_guess():
    objective = Classification(MODEL, MEAN, STD)
    prepared = objective.prepare(batch(), jax.random.key(0))
    parameters = MODEL.init(jax.random.key(0), prepared["image"], False)["params"]
    losses = objective.losses(parameters, prepared, jax.random.key(1))
    np.testing.assert_allclose(losses["loss"], np.full(6, np.log(4)), rtol=1e-6)
    np.testing.assert_array_equal(losses["accuracy"], [1, 0, 0, 0, 1, 0])  # argmax of equal logits is class 0


@pytest.mark.parametrize("option", [{"loss": "softmx"}, {"label_smoothing": 1.0}, {"cutmix": -1.0}])
def test_a_wrong_option_is_named(option):
    with pytest.raises(UserError):
        Classification(MODEL, MEAN, STD, **option)


SEVERAL = jnp.asarray([[0, 2, -1], [1, -1, -1], [-1, -1, -1], [3, 0, 1], [2, 2, -1], [3, -1, -1]], jnp.int32)
GIVEN = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
PARTS = np.array([2, 1, 1, 3, 1, 1], np.float32)[:, None]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("loss", "wanted"), [("sigmoid", GIVEN), ("softmax", GIVEN / PARTS)])
def test_several_labels_are_each_wanted_by_a_sigmoid_and_shared_by_a_softmax(loss, wanted, smoothing):
    objective = Classification(MODEL, MEAN, STD, loss=loss, label_smoothing=smoothing)
    prepared = objective.prepare(batch() | {"label": SEVERAL}, jax.random.key(0))
    smooth = (1 - smoothing) * wanted + smoothing / 4
    smooth[2] = 0.0  # no label, no target
    np.testing.assert_allclose(prepared["target"], smooth, rtol=1e-6)

    head = np.array([0.1, 0.4, 0.3, 0.2], np.float32)
    parameters = MODEL.init(jax.random.key(0), prepared["image"], False)["params"]
    parameters["head"]["bias"] = jnp.asarray(head)
    losses = objective.losses(parameters, prepared, None)
    log_softmax, log_sigmoid = scipy.special.log_softmax(head), scipy.special.log_expit
    formula = {
        "softmax": -(smooth * log_softmax).sum(axis=1),
        "sigmoid": -(smooth * log_sigmoid(head) + (1 - smooth) * log_sigmoid(-head)).sum(axis=1),
    }
    np.testing.assert_allclose(losses["loss"], formula[loss], rtol=1e-5)
    np.testing.assert_array_equal(losses["accuracy"], [0, 1, 0, 1, 0, 0])  # class 1 is the likeliest
