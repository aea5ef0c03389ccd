import numpy as np
import pytest

from vit_jax.errors import UserError
from vit_jax.weights.positions import split_positions
from vit_jax.weights.rename import Row, to_ours, to_theirs

ROWS = [
    Row("stem.weight", "stem/kernel", "out width height width_out -> height width width_out out"),
    Row("token", "token", "1 1 width -> 1 width", optional=True),
    Row("layers.*.proj.weight", "encoder/block*/out/kernel", "out (heads dim) -> heads dim out"),
    Row("layers.*.proj.bias", "encoder/block*/out/bias"),
]


def foreign(depth=12):
    random = np.random.default_rng(0)
    arrays = {"stem.weight": random.normal(size=(6, 2, 3, 4)), "token": random.normal(size=(1, 1, 6))}
    for number in range(depth):
        arrays[f"layers.{number}.proj.weight"] = random.normal(size=(5, 6)).astype(np.float32)
        arrays[f"layers.{number}.proj.bias"] = random.normal(size=(5,)).astype(np.float32)
    return arrays


def test_block_numbers_and_axes_move_as_the_rows_say():
    theirs = foreign()
    ours = to_ours(theirs, ROWS, {"heads": 2, "unused": 7})
    assert len(ours) == len(theirs)
    assert {"encoder/block00/out/kernel", "encoder/block11/out/bias"} <= set(ours)
    kernel = ours["encoder/block11/out/kernel"]
    assert kernel.shape == (2, 3, 5)
    assert kernel[1, 2, 4] == theirs["layers.11.proj.weight"][4, 1 * 3 + 2]


def test_there_and_back_is_the_same_to_the_bit():
    theirs = foreign()
    back = to_theirs(to_ours(theirs, ROWS, {"heads": 2}), ROWS, {"heads": 2})
    assert set(back) == set(theirs)
    for name, array in theirs.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()


def test_all_that_is_wrong_is_listed_in_one_error():
    arrays = foreign(depth=3)
    del arrays["layers.1.proj.bias"], arrays["token"]
    arrays |= {"layers.0.extra": np.zeros(1), "layers.02.proj.bias": np.zeros(5), "stem.weight": np.zeros((6, 2))}
    with pytest.raises(UserError) as error:
        to_ours(arrays, ROWS, {"heads": 2})
    message = str(error.value)
    assert "unknown: layers.0.extra, layers.02.proj.bias;" in message
    assert "missing: layers.1.proj.bias;" in message
    assert 'stem.weight (6, 2) does not read as "out width height' in message
    assert "token" not in message  # optional


def test_arrays_that_do_not_divide_into_heads_are_listed():
    with pytest.raises(UserError, match=r"layers.0.proj.weight \(5, 6\) does not read"):
        to_ours(foreign(depth=1), ROWS, {"heads": 4})


def test_a_long_list_is_shortened():
    arrays = foreign(depth=1) | {f"other.{number}": np.zeros(1) for number in range(1000)}
    with pytest.raises(UserError, match="other.0, other.1, .* and 992 more") as error:
        to_ours(arrays, ROWS, {"heads": 2})
    assert len(str(error.value)) < 500


def test_a_block_number_without_end_is_no_block():
    with pytest.raises(UserError, match=r"unknown: layers.99999999999.proj.bias"):
        to_ours(foreign(depth=1) | {"layers.99999999999.proj.bias": np.zeros(5)}, ROWS, {"heads": 2})


@pytest.mark.parametrize("missing", ["stem/kernel", "encoder/block01/out/bias"])
def test_the_way_back_misses_arrays_too(missing):
    ours = to_ours(foreign(depth=3), ROWS, {"heads": 2})
    del ours[missing]
    with pytest.raises(UserError, match=f"missing: {missing}"):
        to_theirs(ours, ROWS, {"heads": 2})


def test_positions_split_into_prefix_and_grid():
    table = np.arange(7 * 2).reshape(7, 2)
    prefix, grid = split_positions(table, 1, (2, 3))
    np.testing.assert_array_equal(prefix, table[:1])
    np.testing.assert_array_equal(grid[1, 0], table[1 + 3])


@pytest.mark.parametrize(("places", "grid"), [(7, None), (1, None), (0, None), (7, (2, 4)), (1, (0, 5))])
def test_positions_off_the_grid_are_an_error(places, grid):
    with pytest.raises(UserError, match="is the file damaged"):
        split_positions(np.zeros((places, 2)), 1, grid)
