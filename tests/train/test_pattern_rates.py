"""Parts of a model that learn faster, more slowly, or not at all."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts
from vit_jax.train import optimizers, pattern_rates

SMALL = {"width": 8, "depth": 3, "mlp_hidden": 8, "heads": 2, "patch": (4, 4)}


def parameters(prefix: str = ""):
    draw = np.random.default_rng(0)
    leaf = lambda *shape: jnp.asarray(draw.normal(size=shape), jnp.float32)  # noqa: E731
    of_the_model = {
        "class_token": leaf(1, 3),
        "encoder": {"block00": {"out": {"kernel": leaf(3, 3), "bias": leaf(3)}}},
        "head": {"kernel": leaf(3, 2), "bias": leaf(2)},
    }
    return {"model": of_the_model, "mask_token": leaf(1, 3)} if prefix else of_the_model


def taken(here, count: int = 3, **options):
    """Returns the parameters, and the optimiser's state, after steps along the parameters' own values."""
    optimizer, _ = optimizers.build(100, "adamw", 0.1, {"name": "constant"}, weight_decay=0.2, **options)
    state = optimizer.init(here)
    for _ in range(count):
        updates, state = optimizer.update(here, state, here)
        here = optax.apply_updates(here, updates)
    return here, state


def test_a_factor_multiplies_the_update_and_its_decay():
    here = parameters()
    plain = optax.tree.sub(taken(here, 1)[0], here)
    found = optax.tree.sub(taken(here, 1, rates=(("head/kernel", 10.0), ("(head|encoder)/.*", 0.5)))[0], here)
    np.testing.assert_allclose(found["head"]["kernel"], 10 * plain["head"]["kernel"], rtol=1e-5)
    np.testing.assert_allclose(found["head"]["bias"], 0.5 * plain["head"]["bias"], rtol=1e-5)
    out = found["encoder"]["block00"]["out"]
    np.testing.assert_allclose(out["kernel"], 0.5 * plain["encoder"]["block00"]["out"]["kernel"], rtol=1e-5)
    np.testing.assert_array_equal(found["class_token"], plain["class_token"])


@pytest.mark.parametrize("prefix", ["", "model/"])
def test_what_is_frozen_stays_and_stores_nothing(prefix: str):
    here = parameters(prefix)
    after, state = taken(here, rates=(("head/.*", 1.0), (".*", 0.0)))
    moved = {path for path, same in zip(pattern_rates.paths(here), equal(here, after), strict=True) if not same}
    assert moved == {"head/kernel", "head/bias"}
    arrays = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    assert sorted(leaf.shape for leaf in arrays) == [(2,), (2,), (3, 2), (3, 2)]  # Adam's two moments of the head


def equal(one, other) -> list[bool]:
    same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(), one, other)
    return jax.tree.leaves(same)


def test_clipping_counts_only_what_is_trained():
    """The head's gradient, (3, 4, 0, ...), is 5 long; with the rest of the model's it would be 1000."""
    here = parameters()
    gradients = jax.tree.map(lambda leaf: jnp.full_like(leaf, 300.0), here)
    gradients["head"] = {"kernel": jnp.zeros((3, 2)).at[0].set(jnp.array([3.0, 4.0])), "bias": jnp.zeros(2)}
    optimizer, _ = optimizers.build(
        9, "sgd", 1.0, {"name": "constant"}, momentum=0.0, clip_norm=1.0, rates=(("head/.*", 1.0), (".*", 0.0))
    )
    updates, _ = optimizer.update(gradients, optimizer.init(here), here)
    np.testing.assert_allclose(updates["head"]["kernel"][0], [-0.6, -0.8], rtol=1e-6)
    assert float(optax.tree.norm(updates)) == pytest.approx(1, rel=1e-6)


def test_no_gradient_is_computed_for_what_is_frozen():
    here = parameters("model/")
    rates = (("head/bias", 1.0), ("head/.*|mask_token", 0.0))
    found = jax.grad(lambda p: optax.tree.norm(pattern_rates.frozen(rates, p), squared=True))(here)
    assert not found["model"]["head"]["kernel"].any() and not found["mask_token"].any()
    np.testing.assert_allclose(found["model"]["head"]["bias"], 2 * here["model"]["head"]["bias"])


# arXiv 2106.08254 with three blocks and a decay of 0.5.
LAYERS = {
    **dict.fromkeys(("patch_embedding", "class_token", "positions"), 1 / 16),
    **{"block00": 1 / 8, "block01": 1 / 4, "block02": 1 / 2},
    **dict.fromkeys(("norm", "pool", "pre_logits", "head", "mask_token"), 1.0),
}


@pytest.mark.parametrize(("pool", "prefix"), [("class_token", False), ("map", True)])
def test_layer_decay_is_beits_and_is_multiplied_with_other_rates(pool: str, prefix: bool):
    shapes = counts.shapes(models.build(SMALL, classes=2, pool=pool, pre_logits=4), (8, 8))
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)
    ones = {"model": ones, "mask_token": jnp.ones(3)} if prefix else ones
    rates = (("head/bias|encoder/block01/.*", 3.0),)
    optimizer, _ = optimizers.build(9, "sgd", 1.0, {"name": "constant"}, layer_decay=0.5, rates=rates)
    updates, _ = jax.jit(optimizer.update)(ones, optimizer.init(ones), ones)
    for path, leaf in zip(pattern_rates.paths(ones), jax.tree.leaves(updates), strict=True):
        factor = LAYERS[path.removeprefix("encoder/").split("/")[0]]
        tripled = path == "head/bias" or "block01" in path
        np.testing.assert_array_equal(leaf, -(3 * factor if tripled else factor), err_msg=path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": (("haed/.*", 1.0),)}, 'optimizer.rates: "haed/.\\*" matches no parameter; near it are head/'),
        ({"rates": (("head", 1.0),)}, "matches no parameter; near it are head/"),  # whole paths are matched
        ({"rates": (("head/(.*", 1.0),)}, 'optimizer.rates: "head/\\(.\\*" is no regular expression: missing \\)'),
        ({"rates": ("head/.*", 1.0)}, "like \\(\\('head/.\\*', 10.0\\),\\); got 'head/.\\*'"),
        ({"rates": (("head/.*", -1.0),)}, "a factor of at least 0, .*; got \\('head/.\\*', -1.0\\)"),
        ({"rates": (("head/.*", float("nan")),)}, "a factor of at least 0"),
        ({"layer_decay": 1.5}, "layer_decay is above 0 and at most 1; got 1.5"),
        ({"layer_decay": 0.0}, "layer_decay is above 0"),
    ],
)
def test_what_cannot_be_meant(options, message: str):
    with pytest.raises(UserError, match=message) as caught:
        taken(parameters(), **options)
    assert "\n" not in str(caught.value)


def test_layers_are_those_of_a_transformer():
    resnet = {"root": {"kernel": jnp.ones(3)}, "stage1": {"unit01": {"kernel": jnp.ones(3)}}, "head": jnp.ones(2)}
    with pytest.raises(UserError, match="models with blocks, and this one has none; set it to 1.0"):
        taken(resnet, layer_decay=0.75)
