import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UserError
from vit_jax.models.positions import POSITIONS, RESIZE, in_line, resize, sincos2d

GOLDEN = dict(np.load(pathlib.Path(__file__).parent.parent / "golden" / "resize.npz"))
PAIRS = sorted({name.split("/")[0] for name in GOLDEN})


@pytest.mark.parametrize("kernel", RESIZE)
@pytest.mark.parametrize("pair", PAIRS)
def test_resize_agrees_with_scipy_and_torch(pair, kernel):
    wanted = GOLDEN[f"{pair}/{kernel}"]
    resized = resize(jnp.asarray(GOLDEN[f"{pair}/grid"]), wanted.shape[:2], kernel)
    assert resized.dtype == jnp.float32
    np.testing.assert_allclose(resized, wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if "1x4" not in pair])
def test_every_kernel_is_a_different_one(pair):
    for kernel in RESIZE:
        others = [GOLDEN[f"{pair}/{other}"] for other in RESIZE if other != kernel]
        assert all(np.abs(GOLDEN[f"{pair}/{kernel}"] - other).max() > 0.01 for other in others)


@pytest.mark.parametrize("kernel", RESIZE)
def test_a_grid_of_the_right_size_keeps_its_bits(kernel):
    grid = jnp.asarray(GOLDEN["14x14 to 24x24/grid"])
    assert resize(grid, (14, 14), kernel).tobytes() == grid.tobytes()


def test_an_unknown_kernel_is_named_even_if_nothing_is_resized():
    with pytest.raises(UserError, match='unknown kernel to resize positions "cubik". Did you mean "cubic"'):
        resize(jnp.zeros((2, 2, 4)), (2, 2), "cubik")


def apply(kind, patches, prefix, dtype=jnp.float32):
    """Returns parameters drawn by numpy, and the tokens that they make."""
    module, random = POSITIONS[kind](dtype=dtype), np.random.default_rng(1)
    arrays = jnp.asarray(patches, dtype), jnp.asarray(prefix, dtype)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *arrays).get("params", {})
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(leaf.dtype), shapes)
    patches, prefix = jax.jit(module.apply)({"params": params}, *arrays)
    return params, np.asarray(in_line(prefix, patches))


def inputs(count):
    random = np.random.default_rng(0)
    return random.normal(size=(2, 3, 2, 8)).astype(np.float32), random.normal(size=(2, count, 8)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_learned_positions_lie_in_the_order_of_the_tokens(count):
    patches, prefix = inputs(count)
    params, tokens = apply("learned", patches, prefix)
    assert {name: value.shape for name, value in params.items()} == (
        {"grid": (3, 2, 8), "prefix": (count, 8)} if count else {"grid": (3, 2, 8)}
    )
    assert all(value.dtype == jnp.float32 for value in params.values())
    for number in range(count):
        np.testing.assert_allclose(tokens[:, number], prefix[:, number] + params["prefix"][[number]], atol=1e-6)
    for row in range(3):
        for column in range(2):
            wanted = patches[:, row, column] + params["grid"][row, [column]]
            np.testing.assert_allclose(tokens[:, count + row * 2 + column], wanted, atol=1e-6)


def test_learned_positions_start_at_a_standard_deviation_of_two_hundredths():
    module = POSITIONS["learned"]()
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 14, 14, 192)), jnp.zeros((1, 1, 192)))["params"]
    assert float(np.std(params["grid"])) == pytest.approx(0.02, rel=0.02)
    assert float(np.std(params["prefix"])) == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize("kind", ["sincos2d", "none", "learned_patches"])
@pytest.mark.parametrize("count", [0, 2])
def test_the_prefix_tokens_pass_unchanged_where_the_kind_has_no_position_for_them(kind, count):
    patches, prefix = inputs(count)
    params, tokens = apply(kind, patches, prefix)
    assert list(params) == (["grid"] if kind == "learned_patches" else [])
    np.testing.assert_array_equal(tokens[:, :count], prefix)
    added = tokens[:, count:] - patches.reshape(2, 6, 8)
    wanted = {"sincos2d": sincos2d(3, 2, 8), "none": np.zeros((6, 8)), "learned_patches": params.get("grid")}[kind]
    wanted = np.asarray(wanted).reshape(1, 6, 8)
    np.testing.assert_allclose(added, np.broadcast_to(wanted, (2, 6, 8)), atol=1e-6)


def test_sincos_is_the_formula_of_big_vision():
    rows, columns, width = 5, 7, 24
    grid = np.asarray(sincos2d(rows, columns, width))
    quarter = width // 4
    for row in range(rows):
        for column in range(columns):
            for i in range(quarter):
                frequency = 10_000 ** (-i / (quarter - 1))
                x, y = column * frequency, row * frequency
                found = grid[row, column, i::quarter]
                np.testing.assert_allclose(found, [math.sin(x), math.cos(x), math.sin(y), math.cos(y)], atol=1e-5)


@pytest.mark.parametrize("width", [4, 6, 30])
def test_sincos_needs_a_width_of_four_parts(width):
    with pytest.raises(UserError, match=f"multiple of 4, at least 8; got {width}"):
        sincos2d(2, 2, width)


@pytest.mark.parametrize("kind", POSITIONS)
def test_the_sum_is_taken_in_the_compute_dtype(kind):
    params, tokens = apply(kind, *inputs(1), jnp.bfloat16)
    assert tokens.dtype == jnp.bfloat16
    assert all(value.dtype == jnp.float32 for value in params.values())


def test_an_image_of_another_size_is_an_error_that_says_what_to_do():
    patches, prefix = inputs(1)
    params, _ = apply("learned", patches, prefix)
    with pytest.raises(UserError, match=r"\(3, 2, 8\), these images make \(2, 3, 8\); resize"):
        turned = jnp.asarray(patches.transpose(0, 2, 1, 3))
        POSITIONS["learned"]().apply({"params": params}, turned, jnp.asarray(prefix))
