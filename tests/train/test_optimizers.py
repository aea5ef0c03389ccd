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


def steps_of(optimizer: optax.GradientTransformation, count: int = 5):
    """Returns the parameters after each of `count` steps along their own values."""
    here, seen = parameters(), []
    state = optimizer.init(here)
    for _ in range(count):
        found, state = optimizer.update(here, state, here)
        here = optax.apply_updates(here, found)
        seen.append(here)
    return seen


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
