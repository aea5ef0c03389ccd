"""Looking inside: inputs made by hand, whose answer is known without the code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.evaluate import inspect


def uniform(blocks: int, tokens: int) -> list[jax.Array]:
    return [jnp.full((2, 3, tokens, tokens), 1 / tokens) for _ in range(blocks)]


def test_attention_to_oneself_alone_stays_at_home():
    weights = [jnp.broadcast_to(jnp.eye(5), (2, 3, 5, 5))] * 4
    np.testing.assert_allclose(inspect.attention_rollout(weights), np.broadcast_to(np.eye(5), (2, 5, 5)), atol=1e-6)


@pytest.mark.parametrize("blocks", [1, 2, 6])
def test_uniform_attention_forgets_half_of_itself_in_each_block(blocks):
    kept = 0.5**blocks  # ((J + I) / 2) ** blocks = J + (I - J) / 2 ** blocks, for the idempotent J of ones / tokens
    expected = kept * np.eye(4) + (1 - kept) / 4
    rollout = inspect.attention_rollout(uniform(blocks, tokens=4))
    np.testing.assert_allclose(rollout, np.broadcast_to(expected, (2, 4, 4)), atol=1e-6)


def test_blocks_are_multiplied_in_their_order():
    first = jnp.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])[None, None]  # token 0 reads token 1
    second = jnp.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])[None, None]  # token 1 reads token 0
    # By hand: (second + I) / 2 @ (first + I) / 2.
    expected = [[[0.5, 0.5, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 1.0]]]
    np.testing.assert_allclose(inspect.attention_rollout([first, second]), expected, atol=1e-6)


def test_heads_are_averaged():
    heads = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])[None]
    expected = [[[0.75, 0.25], [0.0, 1.0]]]
    np.testing.assert_allclose(inspect.attention_rollout([heads]), expected, atol=1e-6)


def test_a_rollout_needs_a_block():
    with pytest.raises(UserError, match="at least one block"):
        inspect.attention_rollout([])


def test_attention_weights_are_the_blocks_own_and_rows_sum_to_one():
    size = {"width": 8, "depth": 3, "mlp_hidden": 8, "heads": 2, "patch": [4, 4]}
    model = models.build(size, classes=2)
    images = jax.random.normal(jax.random.key(0), (2, 8, 12, 3))
    parameters = model.init(jax.random.key(1), images, False)["params"]
    kept = inspect.intermediates(model, parameters, images)
    weights = inspect.attention_weights(kept)
    assert [block.shape for block in weights] == [(2, 2, 7, 7)] * 3
    np.testing.assert_allclose(inspect.attention_rollout(weights).sum(axis=-1), np.ones((2, 7)), atol=1e-5)

    # What the first block reads, by numpy from the parameters.
    attention = parameters["encoder"]["block00"]["attention"]
    tokens = np.asarray(kept["embedded"])
    normed = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
    query, key = (np.einsum("btw,whd->bhtd", normed, attention[name]["kernel"]) for name in ("query", "key"))
    scores = np.exp(np.einsum("bhqd,bhkd->bhqk", query, key) / np.sqrt(4))
    np.testing.assert_allclose(weights[0], scores / scores.sum(-1, keepdims=True), atol=1e-5)


def test_similarity_of_known_directions():
    grid = jnp.array([[[2.0, 0.0], [0.0, 3.0]], [[-1.0, 0.0], [1.0, 1.0]]])
    similarity = inspect.position_similarity(grid)
    np.testing.assert_allclose(similarity[0, 0], [[1.0, 0.0], [-1.0, np.sqrt(0.5)]], atol=1e-6)
    np.testing.assert_allclose(similarity[1, 1], [[np.sqrt(0.5), np.sqrt(0.5)], [-np.sqrt(0.5), 1.0]], atol=1e-6)


def test_a_grid_of_zeros_has_no_direction():
    assert inspect.position_similarity(jnp.zeros((2, 3, 4))).tolist() == np.zeros((2, 3, 2, 3)).tolist()


def test_the_first_filter_is_the_pattern_that_a_kernel_is_made_of():
    generator = np.random.default_rng(0)
    edge, spot = np.array([[1.0, -1.0], [1.0, -1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    strong, weak = generator.normal(0, 5, 64), generator.normal(0, 0.1, 64)
    strong, weak = strong - strong.mean(), weak - weak.mean()
    weak -= strong * (weak @ strong) / (strong @ strong)  # so that edge is the first component exactly
    across = spot + edge / 2  # orthogonal to edge
    kernel = np.einsum("hw,f->hwf", edge, strong) + np.einsum("hw,f->hwf", across, weak)
    first, second = inspect.patch_filters(jnp.asarray(kernel[:, :, None], jnp.float32), 2)[..., 0]
    np.testing.assert_allclose(abs(first - 0.5), np.full((2, 2), 0.5), atol=1e-4)
    np.testing.assert_allclose(first[:, 0] + first[:, 1], [1.0, 1.0], atol=1e-4)
    np.testing.assert_allclose(second, np.ones((2, 2)), atol=1e-3)


def test_filters_are_images():
    kernel = jax.random.normal(jax.random.key(0), (4, 3, 3, 20))
    filters = inspect.patch_filters(kernel, 20)
    assert filters.shape == (20, 4, 3, 3)
    assert 0 <= filters.min() and filters.max() == 1
    with pytest.raises(UserError, match="1 to 20"):
        inspect.patch_filters(kernel, 21)
