import numpy as np
import pytest

from vit_jax.data.images.erase import Erase
from vit_jax.errors import UserError

IMAGE = np.full((60, 90, 3), 7, np.uint8)


def boxes(erase, height, width, count=3000):
    """Returns int (count, 4): top, left, rows, columns."""
    rng = np.random.default_rng(0)
    slices = [erase.draw_box(height, width, rng) for _ in range(count)]
    return np.array([(r.start, c.start, r.stop - r.start, c.stop - c.start) for r, c in slices])


def test_a_rectangle_of_noise_and_nothing_else_changes():
    erase = Erase(probability=1.0)
    for seed in range(50):
        changed = erase(IMAGE, np.random.default_rng(seed)) != IMAGE
        rows, columns = np.nonzero(changed.any(axis=(1, 2)))[0], np.nonzero(changed.any(axis=(0, 2)))[0]
        box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert changed.sum() == box.sum() > 0.95 * box.size, "one value in 256 is the image's own"
    assert (IMAGE == 7).all()


def test_noise_is_even_and_each_channels_own():
    values = Erase(probability=1.0, area=(0.3, 0.4))(np.zeros((300, 300, 3), np.uint8), np.random.default_rng(0))
    noise = values[values.any(axis=-1)].astype(float)
    assert noise.mean() == pytest.approx(127.5, abs=1) and noise.std() == pytest.approx(73.9, abs=1)
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.02


@pytest.mark.parametrize(("fill", "value"), [("black", 0), ("white", 255)])
def test_a_plain_fill(fill, value):
    erased = Erase(probability=1.0, fill=fill)(IMAGE, np.random.default_rng(0))
    assert set(np.unique(erased)) == {7, value}


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_the_share_of_images_that_is_erased(probability):
    erase, rng = Erase(probability=probability), np.random.default_rng(0)
    erased = [(erase(IMAGE, rng) != IMAGE).any() for _ in range(2000)]
    assert np.mean(erased) == pytest.approx(probability, abs=0.03)


def test_rectangles_keep_to_their_bounds_and_lie_anywhere():
    found = boxes(Erase(area=(0.05, 0.2), ratio=(0.5, 2.0)), 300, 400)
    top, left, rows, columns = found.T
    area, ratio = rows * columns / (300 * 400), rows / columns
    assert 0.0495 < area.min() < 0.053 and 0.195 < area.max() < 0.2005
    assert 0.49 < ratio.min() < 0.52 and 1.95 < ratio.max() < 2.02
    np.testing.assert_allclose(np.quantile(area, [0.25, 0.5, 0.75]), [0.0875, 0.125, 0.1625], atol=0.004)
    np.testing.assert_allclose(np.quantile(ratio, [0.25, 0.5, 0.75]), [0.875, 1.25, 1.625], atol=0.05)
    assert top.min() == left.min() == 0 and (top + rows).max() == 300 and (left + columns).max() == 400
    assert (top + rows / 2).mean() == pytest.approx(150, abs=4) and (left + columns / 2).mean() == pytest.approx(
        200, abs=5
    )


def test_what_never_fits_is_left_alone():
    assert (Erase(probability=1.0, area=(0.9, 1.0), ratio=(3.0, 3.3))(IMAGE, np.random.default_rng(0)) == IMAGE).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 1.5}, "probability is 1.5"),
        ({"area": (0.4, 0.02)}, "area is"),
        ({"area": (0.4,)}, "area is"),
        ({"ratio": (0.0, 1.0)}, "ratio is"),
        ({"fill": "blak"}, 'unknown fill "blak". Did you mean "black"'),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        Erase(**options)
