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


def kept_of(*blocks, tokens: int = 3, grid: tuple[int, int] = (1, 2), **others) -> dict:
    """Intermediates made by hand: the weights of blocks (tokens out, tokens in) with one head, for one image."""
    weights = {
        f"encoder/block{number:02}/attention/weights": jnp.asarray(block)[None, None]
        for number, block in enumerate(blocks)
    }
    return weights | {"patch_embedding": jnp.zeros((1, *grid, 4))} | others


def test_the_class_token_reads_what_two_blocks_let_through():
    # Token 0 is the class token. It reads patch 1 at first; then patch 2 reads patch 1, and the class token patch 2.
    first = [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    second = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    # By hand: the class token's row is (row 0 + row 2) / 2 of the first block's (I + A) / 2,
    # ((1/2, 1/2, 0) + (0, 1/2, 1/2)) / 2 = (1/4, 1/2, 1/4); without the class token 2/3 and 1/3.
    found = inspect.attention_map(kept_of(first, second), "class_token")
    np.testing.assert_allclose(found, [[[2 / 3, 1 / 3]]], atol=1e-6)


def test_without_a_class_token_all_patches_are_read_alike():
    first, second = [[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]
    # By hand: rollout ((1, 0), (1/2, 1/2)) @ ((1/2, 1/2), (0, 1)) = ((1/2, 1/2), (1/4, 3/4)), whose rows' mean it is.
    found = inspect.attention_map(kept_of(first, second), "mean")
    np.testing.assert_allclose(found, [[[3 / 8, 5 / 8]]], atol=1e-6)


def test_an_attention_pool_says_which_patches_are_read():
    first, second = [[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]
    heads = jnp.array([[0.0, 1.0], [0.5, 0.5]])[None, :, None]  # their mean: a quarter of the first row
    found = inspect.attention_map(kept_of(first, second, **{"pool/attention/weights": heads}), "map")
    np.testing.assert_allclose(found, [[[1 / 8 + 3 / 16, 1 / 8 + 9 / 16]]], atol=1e-6)


# Two tokens, then two patches. By hand, of the rollout (A + I) / 2 of the block, less its first two columns:
# (0, 1/4), (1/2, 0), (1/2, 0), (0, 3/4), from the first token to the last patch.
FOUR = [[0.5, 0.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.5]]


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("class_token", (0, 1)),
        ("distilled", (2 / 3, 1 / 3)),  # a half and a quarter
        ("mean", (2 / 5, 3 / 5)),  # a half and three quarters
        ("class_token_and_mean", (2 / 7, 5 / 7)),  # a quarter; a quarter and a quarter and an eighth
        ("map", (2 / 11, 9 / 11)),  # a quarter of a half, three quarters of three quarters
    ],
)
def test_tokens_before_the_patches_are_read_by_those_pools_that_read_them(pool, expected):
    heads = {"pool/attention/weights": jnp.array([[0.25, 0.75]])[None, None]} if pool == "map" else {}
    found = inspect.attention_map(kept_of(FOUR, tokens=4, **heads), pool)
    np.testing.assert_allclose(found, [[expected]], atol=1e-6)


def brute_force_distance(weights: np.ndarray, grid: tuple[int, int], patch: tuple[float, float]) -> float:
    """The mean over queries of one head's weights (places, places), one pair of places after the other."""
    total = 0.0
    for query in range(len(weights)):
        for key, weight in enumerate(weights[query] / weights[query].sum()):
            (y, x), (v, u) = divmod(query, grid[1]), divmod(key, grid[1])
            total += weight * np.hypot(patch[0] * (y - v), patch[1] * (x - u))
    return total / len(weights)


GRID, PATCH = (3, 4), (2.0, 5.0)


def one_head(weights: np.ndarray) -> jax.Array:
    return jnp.asarray(weights, jnp.float32)[None, None]


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_distance_is_that_of_every_pair_of_patches_and_passes_over_other_tokens(prefix):
    rng = np.random.default_rng(prefix)
    tokens = prefix + 12
    weights = rng.dirichlet(np.full(tokens, 0.3), (2, 3, tokens))
    weights[..., :prefix] *= 50  # how much goes to other tokens does not matter
    found = inspect.attention_distance(jnp.asarray(weights, jnp.float32), GRID, PATCH)
    expected = [[brute_force_distance(head[prefix:, prefix:], GRID, PATCH) for head in image] for image in weights]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_distance_of_uniform_attention():
    found = inspect.attention_distance(one_head(np.full((13, 13), 1 / 13)), GRID, PATCH)
    np.testing.assert_allclose(found, [[brute_force_distance(np.ones((12, 12)), GRID, PATCH)]], rtol=1e-5)


def test_distance_of_attention_to_oneself_is_none():
    assert inspect.attention_distance(one_head(np.eye(12)), GRID, PATCH).tolist() == [[0.0]]


@pytest.mark.parametrize(("step", "distance"), [((0, 1), 5.0), ((1, 0), 2.0), ((1, 1), np.sqrt(29.0))])
def test_distance_of_attention_to_the_neighbour_is_one_patch(step, distance):
    weights = np.zeros((12, 12))
    for y, x in np.ndindex(*GRID):  # at the edge to the neighbour on the other side, which is as far
        v, u = (y + step[0] if y + step[0] < 3 else y - step[0]), (x + step[1] if x + step[1] < 4 else x - step[1])
        weights[4 * y + x, 4 * v + u] = 1
    np.testing.assert_allclose(inspect.attention_distance(one_head(weights), GRID, PATCH), [[distance]], rtol=1e-6)


def test_a_patch_that_attends_to_no_patch_has_no_distance():
    found = inspect.attention_distance(one_head(np.eye(13)[:1].repeat(13, axis=0)), GRID, PATCH)
    assert found.tolist() == [[0.0]]


def test_norms_of_known_tokens():
    tokens = jnp.array([[[6.0, 8.0], [3.0, 4.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 2.0], [0.0, -2.0]]])
    found = {name: norms.tolist() for name, norms in inspect.token_norms(tokens, 2, class_token=True).items()}
    assert found == {"class_token": [10.0, 0.0], "mean": [3.0, 2.0], "largest": [5.0, 2.0]}
    assert inspect.token_norms(tokens, 2, class_token=False).keys() == {"mean", "largest"}  # the first is a register
    assert inspect.token_norms(tokens, 3, class_token=False)["largest"].tolist() == [10.0, 2.0]
    assert inspect.token_norms(tokens, 3, class_token=False).keys() == {"mean", "largest"}


def test_norms_of_half_precision_are_computed_in_full():
    found = inspect.token_norms(jnp.full((1, 1, 3), 300.0, jnp.float16), 1, class_token=False)["mean"]
    np.testing.assert_allclose(found, [300 * np.sqrt(3)], rtol=1e-6)  # 3 · 300² is beyond float16


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
