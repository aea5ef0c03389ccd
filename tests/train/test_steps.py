"""One step, whatever it runs on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import models, parallel
from vit_jax.errors import UserError
from vit_jax.objectives.classify import Classification
from vit_jax.train import optimizers, sharpness, steps

SMALL = {"width": 16, "depth": 1, "mlp_hidden": 24, "heads": 2, "patch": (4, 4)}
HALF = (0.5, 0.5, 0.5)


def batch(size: int = 16) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (size, 8, 8, 3)).astype(np.uint8)
    return {"image": images, "label": draw.integers(0, 5, size).astype(np.int32)}


def run(
    devices: int,
    count: int,
    accumulate: int = 1,
    mixup: float = 0.0,
    rule: str = "sgd",
    rates=(),
    sharp=(0.0, 0.0, 0.0),
    **model_options,
):
    """Takes `count` steps on a mesh of `devices`; returns the losses, the last state and the first placed batch."""
    mesh = parallel.make_mesh(devices)
    model = models.build(SMALL, classes=5, **model_options)
    objective = Classification(model, HALF, HALF, mixup=mixup)
    schedule = {"name": "cosine", "warmup_steps": 2}
    optimizer, rate = optimizers.build(count + 2, rule, 1e-1, schedule, clip_norm=1.0, weight_decay=0.1, rates=rates)
    state = steps.initial_state(mesh, optimizer, steps.initial_parameters(objective, 0, (8, 8)))
    train_step = steps.make_train_step(
        objective,
        optimizer,
        rate,
        seed=0,
        accumulate=accumulate,
        rates=rates,
        sharpness=sharpness.build(rate, 1e-1, count + 2, *sharp),
    )
    placed = parallel.place_batch(mesh, batch())
    losses = []
    for _ in range(count):
        state, metrics = train_step(state, placed)
        losses.append(float(metrics["loss"]))
    return np.array(losses), state, placed


def test_one_and_eight_devices_draw_the_same_curve():
    options = {"dropout": 0.2, "mixup": 0.5}
    one, _, whole = run(1, 8, **options)
    eight, state, split = run(8, 8, **options)
    np.testing.assert_allclose(eight, one, rtol=1e-5)
    assert len(set(one)) > 4  # it learns, so the curve says something
    assert len(whole["image"].sharding.device_set) == 1
    assert [shard.data.shape for shard in split["image"].addressable_shards] == [(2, 8, 8, 3)] * 8
    rows = [shard.index[0] for shard in split["image"].addressable_shards]
    assert sorted(rows, key=lambda piece: piece.start) == [slice(i, i + 2, None) for i in range(0, 16, 2)]
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))


def test_dropout_differs_from_step_to_step_and_is_really_on():
    without, _, _ = run(1, 3)
    with_dropout, _, _ = run(1, 3, dropout=0.5)
    assert not np.allclose(without, with_dropout)


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_accumulation_is_the_big_batch(devices: int):
    whole, whole_state, _ = run(devices, 3, mixup=0.5)
    parts, parts_state, _ = run(devices, 3, accumulate=4, mixup=0.5)
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    for one, other in zip(
        jax.tree.leaves(whole_state.parameters), jax.tree.leaves(parts_state.parameters), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_the_state_is_donated():
    mesh = parallel.make_mesh(1)
    objective = Classification(models.build(SMALL, classes=5), HALF, HALF)
    optimizer, rate = optimizers.build(9, "sgd", 1e-2, {"name": "constant"})
    before = steps.initial_state(mesh, optimizer, steps.initial_parameters(objective, 0, (8, 8)))
    train_step = steps.make_train_step(objective, optimizer, rate, seed=0)
    train_step(before, parallel.place_batch(mesh, batch()))
    assert before.parameters["head"]["kernel"].is_deleted()


def test_a_step_without_augmentation_is_the_textbooks():
    """SGD on a zero head: the head's bias moves by rate x (mean of one-hot - 1/classes)."""
    mesh = parallel.make_mesh(1)
    objective = Classification(models.build(SMALL, classes=5), HALF, HALF)
    optimizer, rate = optimizers.build(9, "sgd", 0.5, {"name": "constant"}, momentum=0.0)
    state = steps.initial_state(mesh, optimizer, steps.initial_parameters(objective, 0, (8, 8)))
    train_step = steps.make_train_step(objective, optimizer, rate, seed=0)
    state, metrics = train_step(state, parallel.place_batch(mesh, batch()))
    share = np.bincount(batch()["label"], minlength=5) / 16
    np.testing.assert_allclose(state.parameters["head"]["bias"], 0.5 * (share - 0.2), atol=1e-6)
    assert float(metrics["loss"]) == pytest.approx(np.log(5), rel=1e-6)
    assert int(state.step) == 1


def test_a_batch_that_does_not_split():
    with pytest.raises(UserError, match=r"batch_size 12 does not divide into 1 part\(s\) over 8 devices; try 16"):
        parallel.check_batch_size(parallel.make_mesh(), 12)
    with pytest.raises(UserError, match="there are 8"):
        parallel.make_mesh(9)


def test_rules_place_by_the_first_match():
    mesh = parallel.make_mesh(8)
    spec = jax.sharding.PartitionSpec("data")
    tree = {"head": {"kernel": jnp.zeros((8, 2)), "bias": jnp.zeros(2)}}
    found = parallel.shardings(mesh, tree, ((".*kernel", spec), (".*", jax.sharding.PartitionSpec())))
    assert found["head"]["kernel"].spec == spec
    assert found["head"]["bias"].is_fully_replicated
    with pytest.raises(UserError, match="no sharding rule matches head/bias"):
        parallel.shardings(mesh, tree, ((".*kernel", spec),))


def test_a_frozen_model_under_a_head_that_learns():
    rates = (("head/.*", 1.0), (".*", 0.0))
    losses, state, _ = run(2, 4, rates=rates, accumulate=2)
    fresh = steps.initial_parameters(Classification(models.build(SMALL, classes=5), HALF, HALF), 0, (8, 8))
    after = state.parameters
    assert np.any(after.pop("head")["kernel"]) and fresh.pop("head")
    jax.tree.map(np.testing.assert_array_equal, after, fresh)
    assert losses[-1] < losses[0]


GSAM = (0.3, 0.05, 0.4)


@pytest.mark.slow
def test_a_way_to_flat_minima_is_the_same_on_eight_devices_and_in_parts():
    one, _, _ = run(1, 6, sharp=GSAM)
    parts, _, _ = run(8, 6, sharp=GSAM, accumulate=2)
    np.testing.assert_allclose(parts, one, rtol=1e-5)
    assert one[0] == pytest.approx(np.log(5), rel=1e-6)  # the zero head's, not that of what is further up
    assert one[-1] < one[0] - 0.1


def test_frozen_parts_do_not_count_for_the_radius():
    """Under a frozen model, the head goes up by the whole radius, whatever the gradients of the rest were."""
    mesh, objective = parallel.make_mesh(1), Classification(models.build(SMALL, classes=5), HALF, HALF)
    rates = (("head/bias", 1.0), (".*", 0.0))
    optimizer, rate = optimizers.build(9, "sgd", 0.5, {"name": "constant"}, momentum=0.0, rates=rates)
    up = sharpness.build(rate, 0.5, 9, 0.3, 0.3, 0.0)
    train_step = steps.make_train_step(objective, optimizer, rate, seed=0, rates=rates, sharpness=up)
    state = steps.initial_state(mesh, optimizer, steps.initial_parameters(objective, 0, (8, 8)))
    state, _ = train_step(state, parallel.place_batch(mesh, batch()))
    # The textbook's gradient with the bias alone, 0.3 up: mean of softmax - one-hot.
    share = np.bincount(batch()["label"], minlength=5) / 16
    gradient = 0.2 - share
    above = np.exp(0.3 * gradient / np.linalg.norm(gradient))
    np.testing.assert_allclose(state.parameters["head"]["bias"], -0.5 * (above / above.sum() - share), atol=1e-6)
