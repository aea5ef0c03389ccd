from functools import partial

import jax
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


def steps_of(optimizer: optax.GradientTransformation, count: int = 5):
    """Returns the parameters after each of `count` steps along their own values."""
    here, seen = parameters(), []
    state = optimizer.init(here)
    for _ in range(count):
        found, state = optimizer.update(here, state, here)
        here = optax.apply_updates(here, found)
        seen.append(here)
    return seen


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        ("adam", {}, optax.adam(0.1)),
        ("adamw", {"weight_decay": 0.05}, optax.adamw(0.1, weight_decay=0.05, mask=optimizers.kernels)),
        ("sgd", {"momentum": 0.9}, optax.sgd(0.1, momentum=0.9)),
        ("lion", {"weight_decay": 0.05}, optax.lion(0.1, weight_decay=0.05, mask=optimizers.kernels)),
        (
            "adafactor",
            {"b2_cap": 1.0, "momentum": 0.7, "momentum_dtype": "float32", "least_factored": 2, "clip_rms": 1.0},
            # Its momentum comes after the learning rate, which changes nothing while that is constant.
            optax.adafactor(0.1, 2, multiply_by_parameter_scale=False, momentum=0.7),
        ),
    ],
)
def test_rules_are_optaxs(name: str, options, reference: optax.GradientTransformation):
    for one, other in zip(steps_of(constant(0.1, name, **options)), steps_of(reference), strict=True):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6), one, other)


def test_adafactor_is_that_of_scaling_vision_transformers():
    """By hand, over gradients of 2, 4 and 1: the second moment's decay at step t 1 - t ** -0.8."""
    here = {"large": jnp.full((64, 32), 2.0), "small": jnp.full((31, 64), 2.0)}
    state = constant(0.1, "adafactor").init(here)
    factored, momentum = optax.tree.get(state, "v_row"), optax.tree.get(state, "ema")
    assert (factored["large"].shape, factored["small"].shape) == ((32,), (1,))  # from 32 on
    assert {leaf.dtype for leaf in momentum.values()} == {jnp.dtype("bfloat16")}

    optimizer = constant(0.1, "adafactor", b2_cap=0.4, momentum_dtype="float32")
    state = optimizer.init(here)
    second, first = 0.0, 0.0
    for step, gradient in ((1, 2.0), (2, 4.0), (3, 1.0)):
        b2 = min(0.4, 1 - step**-0.8)  # 0, then the cap: without it 0.43 and 0.58
        second = b2 * second + (1 - b2) * gradient**2
        first = 0.9 * first + 0.1 * gradient / second**0.5
        found, state = optimizer.update(jax.tree.map(lambda x, g=gradient: jnp.full_like(x, g), here), state, here)
        for leaf in found.values():
            np.testing.assert_allclose(leaf, -0.1 * first, rtol=1e-5)


def test_decay_by_the_schedule_is_adamws_at_that_peak():
    """big_vision's learning rate 1e-3 and decay 1e-4 are AdamW with 0.1, warm-up and cosine included."""
    schedule = {"name": "cosine", "warmup_steps": 2}
    options = {"weight_decay": 1e-4, "decay_follows": "schedule"}
    ours, rate = optimizers.build(5, "adamw", 1e-3, schedule, **options)
    for one, other in zip(
        steps_of(ours), steps_of(optax.adamw(rate, weight_decay=0.1, mask=optimizers.kernels)), strict=True
    ):
        jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(("follows", "share"), [("schedule", 0.25), ("learning_rate", 0.25 * 0.004)])
def test_what_decay_is_multiplied_with(follows: str, share: float):
    """A quarter of the way up the warm-up, by hand."""
    schedule = {"name": "constant", "warmup_steps": 4}
    optimizer, _ = optimizers.build(9, "sgd", 0.004, schedule, weight_decay=0.3, decay_follows=follows)
    state = optimizer.init(parameters())
    for _ in range(2):
        found, state = optimizer.update(zeros(), state, parameters())
    np.testing.assert_allclose(found["dense"]["kernel"], -0.3 * share * parameters()["dense"]["kernel"], rtol=1e-6)


def test_all_gradients_together_are_clipped():
    gradients = {key: {name: leaf * 100 for name, leaf in leaves.items()} for key, leaves in parameters().items()}
    found = updates(constant(1.0, "sgd", clip_norm=1.0), gradients)
    assert float(optax.tree.norm(found)) == pytest.approx(1.0, rel=1e-5)


def test_momentum_in_bfloat16():
    state = constant(0.1, "sgd", momentum_dtype="bfloat16").init(parameters())
    assert {leaf.dtype for leaf in optax.tree.get(state, "trace")["dense"].values()} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "admw"}, 'Did you mean "adam'),
        ({"name": "adam", "weight_decay": 0.1}, '"adamw" is Adam with it'),
        ({"name": "adam", "momentum": 0.9}, 'reads no "momentum"'),
        ({"name": "adamw", "decay_follows": "scedule"}, 'Did you mean "schedule"'),
        ({"name": "sgd", "peak_learning_rate": 0.0}, "peak_learning_rate is above 0; got 0.0"),
        ({"name": "sgd", "schedule": {"name": "cosin"}}, 'Did you mean "cosine"'),
        ({"name": "sgd", "schedule": {"name": "cosine", "warmup": 3}}, 'reads no "warmup"'),
        ({"name": "sgd", "schedule": {"name": "cosine", "warmup_steps": 100}}, "at least one"),
    ],
)
def test_wrong_options_are_named(arguments, message: str):
    options = {"steps": 100, "peak_learning_rate": 0.1, "schedule": {"name": "cosine"}} | arguments
    with pytest.raises(UserError, match=message):
        optimizers.build(**options)
