import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vit_jax.errors import UserError
from vit_jax.train import optimizers


def parameters():
    draw = np.random.default_rng(0)
    return {
        "dense": {"kernel": jnp.asarray(draw.normal(size=(3, 2)), jnp.float32), "bias": jnp.ones(2)},
        "norm": {"scale": jnp.ones(3)},
        "positions": {"grid": jnp.ones((1, 1, 3))},
    }


def constant(peak: float, name: str, **options):
    return optimizers.build(100, name, peak, {"name": "constant"}, **options)[0]


def updates(optimizer: optax.GradientTransformation, gradients):
    return optimizer.update(gradients, optimizer.init(parameters()), parameters())[0]


def zeros():
    return {key: {name: jnp.zeros_like(leaf) for name, leaf in leaves.items()} for key, leaves in parameters().items()}


def test_weight_decay_is_decoupled_and_for_kernels_alone():
    found = updates(constant(0.1, "adamw", weight_decay=0.3), zeros())
    np.testing.assert_allclose(found["dense"]["kernel"], -0.1 * 0.3 * parameters()["dense"]["kernel"], rtol=1e-6)
    for section, name in (("dense", "bias"), ("norm", "scale"), ("positions", "grid")):
        assert not found[section][name].any()


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        ("adam", {}, optax.adam(0.1)),
        ("adamw", {"weight_decay": 0.05}, optax.adamw(0.1, weight_decay=0.05, mask=optimizers.kernels)),
        ("sgd", {"momentum": 0.9}, optax.sgd(0.1, momentum=0.9)),
    ],
)
def test_rules_are_optaxs(name: str, options, reference: optax.GradientTransformation):
    ours, theirs = constant(0.1, name, **options), reference
    ours_state, theirs_state, here = ours.init(parameters()), theirs.init(parameters()), parameters()
    for _ in range(3):
        ours_step, ours_state = ours.update(here, ours_state, here)
        theirs_step, theirs_state = theirs.update(here, theirs_state, here)
        for one, other in zip(jnp.hstack([v.ravel() for v in ours_step["dense"].values()]),
                              jnp.hstack([v.ravel() for v in theirs_step["dense"].values()]), strict=True):  # fmt: skip
            np.testing.assert_allclose(one, other, rtol=1e-5)


def test_all_gradients_together_are_clipped():
    gradients = {key: {name: leaf * 100 for name, leaf in leaves.items()} for key, leaves in parameters().items()}
    found = updates(constant(1.0, "sgd", clip_norm=1.0), gradients)
    assert float(optax.tree.norm(found)) == pytest.approx(1.0, rel=1e-5)


def test_momentum_in_bfloat16():
    state = constant(0.1, "sgd", momentum_dtype="bfloat16").init(parameters())
    assert {leaf.dtype for leaf in optax.tree.get(state, "trace")["dense"].values()} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1]),
        ({"name": "linear"}, [1, 0.75, 0.25, 0]),
        ({"name": "linear", "end": 0.2}, [1, 0.8, 0.4, 0.2]),
        ({"name": "cosine"}, [1, (1 + np.cos(np.pi / 4)) / 2, (1 + np.cos(3 * np.pi / 4)) / 2, 0]),
        ({"name": "rsqrt", "timescale": 25}, [1, 2**-0.5, 4**-0.5, 5**-0.5]),
        ({"name": "rsqrt", "timescale": 25, "cooldown_steps": 50}, [1, 2**-0.5, 0.5 * 4**-0.5, 0]),
    ],
)
def test_schedules(schedule, expected):
    rate = optimizers.learning_rate(3.0, 100, **schedule)
    np.testing.assert_allclose([rate(step) for step in (0, 25, 75, 100)], 3 * np.array(expected), atol=1e-6)


def test_warmup_rises_to_the_peak_and_the_rest_is_the_schedules():
    rate = optimizers.learning_rate(2.0, 30, "linear", warmup_steps=10)
    np.testing.assert_allclose([rate(s) for s in (0, 1, 5, 10, 20, 30)], [0, 0.2, 1, 2, 1, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "admw"}, 'Did you mean "adam'),
        ({"name": "adam", "weight_decay": 0.1}, '"adamw" is Adam with it'),
        ({"name": "adam", "momentum": 0.9}, 'reads no "momentum"'),
        ({"name": "sgd", "schedule": {"name": "cosin"}}, 'Did you mean "cosine"'),
        ({"name": "sgd", "schedule": {"name": "cosine", "warmup": 3}}, 'reads no "warmup"'),
        ({"name": "sgd", "schedule": {"name": "cosine", "warmup_steps": 100}}, "at least one"),
    ],
)
def test_wrong_options_are_named(arguments, message: str):
    options = {"steps": 100, "peak_learning_rate": 0.1, "schedule": {"name": "cosine"}} | arguments
    with pytest.raises(UserError, match=message):
        optimizers.build(**options)
