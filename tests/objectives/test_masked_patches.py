"""Masked patch prediction: what is spoilt, what is asked for, what is learned from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vit_jax import models, objectives
from vit_jax.errors import UserError
from vit_jax.objectives import Objective
from vit_jax.objectives.masked_patches import TARGETS, MaskedPatches, color_classes, spoilt

HALF = (0.5, 0.5, 0.5)
SIZE = {"width": 8, "depth": 1, "mlp_hidden": 8, "heads": 1, "patch": (4, 4)}


def masked_patches(pool: str = "class_token", patch=(4, 4), dropout: float = 0.0, **options) -> MaskedPatches:
    model = models.build(SIZE | {"patch": patch}, classes=0, pool=pool, dropout=dropout)
    objective = objectives.build(model, HALF, HALF, "masked_patches", **options)
    assert isinstance(objective, Objective)
    return objective


def noise(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, shape), jnp.uint8)


def within(found: float, chance: float, draws: int) -> bool:
    """Whether a share of `draws` lies within five standard deviations of a binomial's."""
    return abs(found - chance) < 5 * np.sqrt(chance * (1 - chance) / draws)


def test_corruption_over_a_hundred_thousand_patches():
    """Paper, appendix B.1.2: 50% corrupted; of these 80% masked, 10% another patch's embedding, 10% kept."""
    images, each = 512, 196
    batch = {"image": jnp.zeros((images, 56, 56, 3), jnp.uint8)}
    prepared = {name: np.asarray(array) for name, array in masked_patches().prepare(batch, jax.random.key(3)).items()}
    taken, source, masked = prepared["taken"], prepared["source"], prepared["masked"]
    assert images * each > 100_000

    assert taken.shape == (images, each // 2)
    corrupted = np.zeros((images, each), bool)
    np.put_along_axis(corrupted, taken, True, axis=1)
    assert (corrupted.sum(axis=1) == each // 2).all()  # none twice
    moved = source != np.arange(each)[None]
    assert not (masked | moved)[~corrupted].any()
    assert not (masked & moved).any()
    assert 0 <= source.min() and source.max() < each

    draws = corrupted.sum()
    assert within(masked.sum() / draws, 0.8, draws)
    assert within(moved.sum() / draws, 0.1, draws)
    kept = corrupted & ~masked & ~moved
    assert within(kept.sum() / draws, 0.1, draws)
    # Every place is as likely to be corrupted, and every other patch to be put in its stead.
    assert all(within(share, 0.5, images) for share in corrupted.mean(axis=0))
    distances = np.bincount(((source - np.arange(each)[None]) % each)[moved], minlength=each)
    assert distances[0] == 0
    assert all(within(count / moved.sum(), 1 / (each - 1), moved.sum()) for count in distances[1:])


def test_the_draw_is_the_keys():
    objective, batch = masked_patches(), {"image": noise(2, 16, 16, 3)}
    first, again, other = (objective.prepare(batch, jax.random.key(seed))["taken"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_embeddings_are_spoilt_as_drawn():
    embedded = jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 3, 5)), jnp.float32)
    source = jnp.array([[0, 1, 2, 3, 4, 5], [5, 1, 2, 0, 4, 5]])
    masked = jnp.array([[True, False, False, False, False, True], [False] * 6])
    found = np.asarray(spoilt(embedded, jnp.arange(5.0), source, masked)).reshape(2, 6, 5)
    flat = np.asarray(embedded).reshape(2, 6, 5)
    np.testing.assert_array_equal(found[0, [0, 5]], np.tile(np.arange(5.0), (2, 1)))
    np.testing.assert_array_equal(found[0, 1:5], flat[0, 1:5])
    np.testing.assert_array_equal(found[1], flat[1, [5, 1, 2, 0, 4, 5]])


@pytest.mark.parametrize(
    ("color", "known"),
    [
        ((0, 0, 0), 0),
        ((255, 255, 255), 511),
        ((31, 32, 255), 0 * 64 + 1 * 8 + 7),
        ((128, 64, 223), 4 * 64 + 2 * 8 + 6),
        ((95, 191, 96), 2 * 64 + 5 * 8 + 3),
    ],
)
def test_the_class_of_a_color(color, known: int):
    pixels = jnp.asarray(np.tile(np.array(color, np.uint8), (1, 14, 14, 1)))
    assert color_classes(pixels, (14, 14)).tolist() == [[[known]]]


def test_there_are_eight_levels_a_channel():
    reds = np.zeros((1, 1, 256, 3), np.uint8)
    reds[0, 0, :, 0] = np.arange(256)
    levels = np.asarray(color_classes(jnp.asarray(reds), (1, 1)))[0, 0] // 64
    np.testing.assert_array_equal(np.bincount(levels), [32] * 8)


def test_the_mean_of_a_patch_decides_not_its_pixels():
    pixels = np.zeros((1, 4, 8, 3), np.uint8)
    pixels[0, :2, :4] = 255  # half of the first patch: 127.5, level 3
    pixels[0, 0, 4] = (255, 128, 64)  # one of 16 pixels: 15.9, 8, 4
    answers = TARGETS["mean_color"].answers(jnp.asarray(pixels), (4, 4))
    assert answers.tolist() == [[[3 * 64 + 3 * 8 + 3], [0]]]


def test_the_downsized_target_is_four_by_four_in_order():
    """Cell (i, j) of the second of two patches is (32 i, 32 j, 224)."""
    pixels = np.zeros((1, 8, 16, 3), np.uint8)
    rows, columns = np.mgrid[:8, :8] // 2
    pixels[0, :, 8:] = np.stack([32 * rows, 32 * columns, np.full((8, 8), 224)], axis=-1)
    answers = np.asarray(TARGETS["downsized"].answers(jnp.asarray(pixels), (8, 8)))
    expected = [64 * row + 8 * column + 7 for row in range(4) for column in range(4)]
    np.testing.assert_array_equal(answers, [[[0] * 16, expected]])


def test_the_pixels_of_a_patch_and_their_squared_differences():
    pixels = np.asarray(noise(1, 2, 4, 3))
    target = TARGETS["pixels"]
    answers = np.asarray(target.answers(jnp.asarray(pixels), (2, 2)))
    expected = [pixels[0, :2, start : start + 2].reshape(-1) / 127.5 - 1 for start in (0, 2)]
    np.testing.assert_allclose(answers, [expected], atol=1e-6)
    losses = target.losses(jnp.zeros((1, 2, 12)), jnp.asarray(answers))["loss"]
    np.testing.assert_allclose(losses, np.square([expected]).mean(axis=-1), rtol=1e-5)


def test_the_loss_is_the_cross_entropy_of_what_is_predicted():
    draw = np.random.default_rng(0)
    predictions = draw.normal(size=(2, 3, 16 * 512)).astype(np.float32)
    answers = draw.integers(0, 512, (2, 3, 16))
    predictions.reshape(2, 3, 16, 512)[0, 0, np.arange(8), answers[0, 0, :8]] += 100  # half of a patch's are right
    found = TARGETS["downsized"].losses(jnp.asarray(predictions), jnp.asarray(answers))
    logs = scipy.special.log_softmax(predictions.reshape(2, 3, 16, 512), axis=-1)
    expected = -np.take_along_axis(logs, answers[..., None], axis=-1)[..., 0].mean(axis=-1)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-4)
    assert float(found["accuracy"][0, 0]) == 0.5


@pytest.mark.parametrize("target", TARGETS)
def test_only_corrupted_patches_are_asked_for(target: str):
    """With a prediction that looks at nothing, other pixels of an untaken patch change no loss; of a taken one, do."""
    objective = masked_patches(target=target)
    image = noise(1, 8, 8, 3)
    parameters = objective.initial(jax.random.key(0), (8, 8))
    parameters["prediction"]["kernel"] *= 0
    parameters["prediction"]["bias"] += jnp.linspace(0, 1, parameters["prediction"]["bias"].size)

    @jax.jit
    def loss(image):
        prepared = objective.prepare({"image": image}, jax.random.key(0))
        return objective.losses(parameters, prepared, None)["loss"][0]

    taken = set(np.asarray(objective.prepare({"image": image}, jax.random.key(0))["taken"])[0].tolist())
    assert len(taken) == 2
    for patch in range(4):
        row, column = 4 * (patch // 2), 4 * (patch % 2)
        spot = np.s_[0, row : row + 4, column : column + 4]
        changed = image.at[spot].set(255 - image[spot])
        assert (loss(changed) != loss(image)) == (patch in taken)


def test_a_prediction_of_nothing_costs_what_a_guess_does():
    objective = masked_patches()
    parameters = objective.initial(jax.random.key(0), (16, 16))
    parameters["prediction"]["kernel"] *= 0
    prepared = objective.prepare({"image": noise(2, 16, 16, 3)}, jax.random.key(0))
    np.testing.assert_allclose(objective.losses(parameters, prepared, None)["loss"], [np.log(512)] * 2, rtol=1e-6)


@pytest.mark.parametrize("pool", ["class_token", "mean"])
def test_gradients_reach_all_that_is_learned(pool: str):
    objective = masked_patches(pool)
    parameters = objective.initial(jax.random.key(0), (16, 16))
    assert set(parameters) == {"model", "mask", "prediction"}
    assert not {"head", "pre_logits"} & set(parameters["model"])
    prepared = objective.prepare({"image": noise(2, 16, 16, 3)}, jax.random.key(0))
    gradients = jax.jit(jax.grad(lambda learned: objective.losses(learned, prepared, None)["loss"].mean()))(parameters)
    gradients["model"]["encoder"]["block00"]["attention"]["key"].pop("bias")  # which softmax ignores
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_a_masked_patch_is_not_seen():
    """All masked: no pixel of a corrupted patch changes a prediction."""
    objective = masked_patches(masked=1.0, replaced=0.0)
    parameters = objective.initial(jax.random.key(0), (8, 8))
    prepared = objective.prepare({"image": noise(1, 8, 8, 3)}, jax.random.key(0))
    loss = jax.jit(lambda image: objective.losses(parameters, prepared | {"image": image}, None)["loss"][0])
    before = loss(prepared["image"])
    for patch in range(4):
        row, column = 4 * (patch // 2), 4 * (patch % 2)
        changed = prepared["image"].at[0, row : row + 4, column : column + 4].add(1.0)
        assert (loss(changed) == before) == (patch in np.asarray(prepared["taken"]))


def test_dropout_draws_from_the_key():
    objective = masked_patches(dropout=0.5)
    parameters = objective.initial(jax.random.key(0), (8, 8))
    prepared = objective.prepare({"image": noise(1, 8, 8, 3)}, jax.random.key(0))
    losses = [
        float(objective.losses(parameters, prepared, key)["loss"][0])
        for key in (None, *jax.random.split(jax.random.key(0)))
    ]
    assert len(set(losses)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "mean_colour"}, 'Did you mean "mean_color"'),
        ({"masked": 0.95}, "together at most 1"),
        ({"pool": "map"}, "trains no pool"),
        ({"patch": (6, 4), "target": "downsized"}, "a patch of 6x4 does not divide into 4x4 cells"),
        ({"maskd": 0.5}, 'reads no "maskd". Did you mean "masked"'),
    ],
)
def test_a_wrong_option_is_named(options, message: str):
    with pytest.raises(UserError, match=message):
        masked_patches(**options)


def test_too_few_patches_and_patches_that_do_not_tile():
    with pytest.raises(UserError, match=r"objective.corrupted 0.1 takes 0 of an image's 4 patches"):
        masked_patches(corrupted=0.1).prepare({"image": noise(1, 8, 8, 3)}, jax.random.key(0))
    with pytest.raises(UserError, match="image 9x8 does not divide into patches of 4x4"):
        masked_patches().initial(jax.random.key(0), (9, 8))
