import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts
from vit_jax.models.attention import attend
from vit_jax.models.heads import AttentionPool
from vit_jax.models.sizes import Size
from vit_jax.models.vit import Block, Encoder

SMALL = {"width": 24, "depth": 2, "mlp_hidden": 40, "heads": 4, "patch": (4, 4)}


def redrawn(model, image_size=(16, 16), seed: int = 0):
    """Parameters all drawn at random, head and class token too, which start from zero."""
    shapes = flatten_dict(counts.shapes(model, image_size))
    draw = np.random.default_rng(seed)
    return unflatten_dict({k: jnp.asarray(draw.normal(0, 0.3, v.shape), jnp.float32) for k, v in shapes.items()})


def images(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("pool", ["class_token", "mean", "map", "none"])
@pytest.mark.parametrize("positions", ["learned", "sincos2d", "none"])
def test_non_square_patches_and_images(pool: str, positions: str):
    model = models.build(SMALL | {"patch": (4, 8)}, classes=3, pool=pool, positions=positions)
    logits = models.apply(model, redrawn(model, (12, 32)), images(2, 12, 32, 3))
    assert logits.shape == ((2, 12, 3) if pool == "none" else (2, 3))


def test_parameters_have_names_that_read_as_sentences():
    model = models.build(SMALL, classes=3, pre_logits=5)
    block = [
        f"{part}/{leaf}"
        for part in ("attention/key", "attention/out", "attention/query", "attention/value", "mlp/hidden", "mlp/out")
        for leaf in ("bias", "kernel")
    ] + [f"{norm}/{leaf}" for norm in ("norm_attention", "norm_mlp") for leaf in ("bias", "scale")]
    expected = ["class_token", "head/bias", "head/kernel", "patch_embedding/bias", "patch_embedding/kernel"]
    expected += ["positions/grid", "positions/prefix", "pre_logits/bias", "pre_logits/kernel"]
    expected += ["encoder/norm/bias", "encoder/norm/scale"]
    expected += [f"encoder/block{i:02}/{name}" for i in range(2) for name in block]
    assert sorted(flatten_dict(counts.shapes(model, (16, 16)), sep="/")) == sorted(expected)


def test_the_head_starts_from_zero_and_its_bias():
    model = models.build(SMALL | {"depth": 1}, classes=3, head_bias=-6.9)
    parameters = models.initial(model, jax.random.key(0), (16, 16))
    np.testing.assert_allclose(models.apply(model, parameters, images(2, 16, 16, 3)), np.full((2, 3), -6.9), rtol=1e-6)


def test_an_image_that_patches_do_not_tile():
    model = models.build(SMALL, classes=3)
    with pytest.raises(UserError, match="image 16x18 does not divide into patches of 4x4; resize it or choose another"):
        model.init(jax.random.key(0), images(1, 16, 18, 3), False)


def test_bfloat16_reaches_every_layer():
    model = models.build(SMALL, classes=3, dtype="bfloat16")
    parameters = redrawn(model)
    logits, state = model.apply({"params": parameters}, images(2, 16, 16, 3), False, mutable=["intermediates"])
    kept = flatten_dict(state["intermediates"], sep="/")
    assert logits.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(parameters))
    assert kept["encoder/block01/attention/weights"].dtype == jnp.float32
    assert kept["embedded"].dtype == kept["encoder/block00/output"].dtype == jnp.bfloat16
    program = jax.jit(lambda p, x: models.apply(model, p, x)).lower(parameters, images(2, 16, 16, 3)).as_text()
    matmuls = [line for line in program.splitlines() if "dot_general" in line or "stablehlo.convolution" in line]
    in_float32 = [line for line in matmuls if "bf16" not in line]
    assert len(matmuls) == 2 * 8 + 2  # a block: query, key, value, scores, mean of values, out, two of the MLP
    assert len(in_float32) == 1, in_float32  # the head


def test_attention_is_the_formula_and_its_weights_sum_to_one():
    query, key, value = (images(2, 5, 3, 4) * scale for scale in (1.0, 2.0, 3.0))
    found, weights = attend(query, key, value)
    q, k, v = (np.asarray(a, np.float64).transpose(0, 2, 1, 3) for a in (query, key, value))
    scores = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(4))
    expected = scores / scores.sum(-1, keepdims=True)
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    np.testing.assert_allclose(found, (expected @ v).transpose(0, 2, 1, 3), atol=1e-5)


def test_intermediates_cost_nothing_when_not_asked_for():
    model = models.build(SMALL, classes=3)
    parameters, batch = redrawn(model), images(2, 16, 16, 3)

    def without(p, x):
        return model.apply({"params": p}, x, False)

    def asked_and_dropped(p, x):
        return model.apply({"params": p}, x, False, mutable=["intermediates"])[0]

    costs = [
        jax.jit(f).lower(parameters, batch).compile().cost_analysis()["flops"] for f in (without, asked_and_dropped)
    ]
    assert costs[0] == costs[1]
    _, state = model.apply({"params": parameters}, batch, False, mutable=["intermediates"])
    kept = flatten_dict(state["intermediates"], sep="/")
    assert kept["encoder/block00/attention/weights"].shape == (2, 4, 17, 17)
    assert kept["encoder/block01/output"].shape == (2, 17, 24)


def test_dropout_and_stochastic_depth_act_in_training_alone():
    plain, batch = models.build(SMALL, classes=3), images(4, 16, 16, 3)
    parameters = redrawn(plain)
    for option in ({"dropout": 0.5}, {"stochastic_depth": 0.9}):
        model = models.build(SMALL, classes=3, **option)
        np.testing.assert_array_equal(models.apply(model, parameters, batch), models.apply(plain, parameters, batch))
        draws = [models.apply(model, parameters, batch, jax.random.key(i)) for i in (0, 0, 1)]
        np.testing.assert_array_equal(draws[0], draws[1])
        assert not np.allclose(draws[0], draws[2])


def test_stochastic_depth_skips_whole_halves_of_an_image():
    """With one block at 0.5, an image's output is one of four: attention kept or not, MLP kept or not."""
    tokens = images(64, 5, 24)
    block = Block(4, 40, stochastic_depth=0.5)
    parameters = block.init(jax.random.key(0), tokens, None, False)
    found = np.asarray(block.apply(parameters, tokens, None, True, rngs={"dropout": jax.random.key(1)}))
    unchanged = np.isclose(found, tokens).all(axis=(1, 2)).mean()
    assert 0.1 < unchanged < 0.4  # both halves skipped: a quarter


def test_the_last_block_is_skipped_most():
    rates = {}

    def spy(next_function, arguments, keywords, context):
        if isinstance(context.module, nn.Dropout) and context.module.broadcast_dims:
            rates.setdefault(context.module.path[0], context.module.rate)
        return next_function(*arguments, **keywords)

    encoder = Encoder(Size(24, 3, 40, 4, (4, 4)), stochastic_depth=0.2)
    with nn.intercept_methods(spy):
        encoder.init(jax.random.key(0), images(1, 5, 24), None, False)
    assert rates == {"block00": 0.0, "block01": 0.1, "block02": 0.2}


def test_dropout_is_where_the_paper_has_it():
    """After the positions, after attention and after both dense layers of the MLP; not on query, key and value."""
    found = []

    def spy(next_function, arguments, keywords, context):
        if isinstance(context.module, nn.Dropout) and context.module.rate:
            found.append(("/".join(context.module.path[:-1]), context.module.rate, arguments[0].shape))
        return next_function(*arguments, **keywords)

    model = models.build(SMALL, classes=3, dropout=0.1)
    parameters = redrawn(model)
    with nn.intercept_methods(spy):
        models.apply(model, parameters, images(1, 16, 16, 3), jax.random.key(0))
    block = [("", 24), ("/mlp", 40), ("", 24)]  # attention's output; the hidden layer; the MLP's output
    expected = [("", 0.1, (1, 17, 24))]
    expected += [(f"encoder/block{i:02}{part}", 0.1, (1, 17, width)) for i in range(2) for part, width in block]
    assert found == expected


def test_attention_pooling_is_the_formula():
    """A probe attends to the patches; an MLP with a residual reads a normed copy (arXiv 2106.04560, section 3.3)."""
    pool, tokens = AttentionPool(heads=4, mlp_hidden=40), images(2, 5, 24)
    shapes = flatten_dict(jax.eval_shape(lambda tokens: pool.init(jax.random.key(0), tokens, 0), tokens)["params"])
    draw = np.random.default_rng(2)
    flat = {name: draw.normal(0, 0.3, leaf.shape) for name, leaf in shapes.items()}
    p = {"/".join(name): array for name, array in flat.items()}
    x = np.asarray(tokens, np.float64)

    def project(name: str, tokens: np.ndarray) -> np.ndarray:
        return np.einsum("bnw,whd->bhnd", tokens, p[f"attention/{name}/kernel"]) + p[f"attention/{name}/bias"][:, None]

    query, key, value = project("query", np.repeat(p["probe"][None], 2, 0)), project("key", x), project("value", x)
    weights = scipy.special.softmax(query @ key.swapaxes(-1, -2) / np.sqrt(6), axis=-1)
    found = np.einsum("bhqd,hdw->bqw", weights @ value, p["attention/out/kernel"]) + p["attention/out/bias"]
    normed = (found - found.mean(-1, keepdims=True)) / np.sqrt(found.var(-1, keepdims=True) + 1e-6)
    normed = normed * p["norm/scale"] + p["norm/bias"]
    hidden = normed @ p["mlp/hidden/kernel"] + p["mlp/hidden/bias"]
    hidden = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
    expected = (found + hidden @ p["mlp/out/kernel"] + p["mlp/out/bias"])[:, 0]

    parameters = unflatten_dict({name: jnp.asarray(array, jnp.float32) for name, array in flat.items()})
    np.testing.assert_allclose(pool.apply({"params": parameters}, tokens, 0), expected, atol=1e-5)
    with_prefix = jnp.concatenate([images(2, 3, 24), tokens], axis=1)
    np.testing.assert_allclose(pool.apply({"params": parameters}, with_prefix, 3), expected, atol=1e-5)
