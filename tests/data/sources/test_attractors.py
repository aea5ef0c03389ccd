import itertools

import numpy as np
import pytest

from vit_jax.data.sources import attractors


def random_maps(batch, count, seed):
    rng = np.random.default_rng(seed)
    return attractors.Maps(
        *(rng.normal(0, 0.2, (batch, count)) + 1j * rng.normal(0, 0.2, (batch, count)) for _ in range(3))
    )


def as_matrices(maps):
    """The maps as real matrices (..., 2, 2), by their columns: where 1 and i go."""
    one, i = maps.direct + maps.mirrored, 1j * (maps.direct - maps.mirrored)
    return np.stack([np.stack([one.real, i.real], -1), np.stack([one.imag, i.imag], -1)], -2)


def test_a_single_map_leads_to_its_fixed_point():
    maps = random_maps(5, 1, seed=0)
    shift = np.stack([maps.shift.real, maps.shift.imag], -1)
    expected = np.linalg.solve(np.eye(2) - as_matrices(maps), shift[..., None])[:, 0, :, 0]
    cloud = next(itertools.islice(attractors.walk(maps, 3, np.random.default_rng(0)), 200, None))
    np.testing.assert_allclose(np.stack([cloud.real, cloud.imag], -1), np.stack([expected] * 3, 1), atol=1e-5)


def test_every_map_is_a_contraction_and_fills_the_plane_as_the_paper_says():
    for seed in range(200):
        maps = attractors.sample_maps(np.random.default_rng(seed))
        singular = np.linalg.svd(as_matrices(maps), compute_uv=False)
        assert singular.max() <= attractors.LARGEST_STRETCH + 1e-9
        count = len(singular)
        assert 2 <= count <= 8
        values = attractors.sample_singular_values(count, (5.5 + count) / 2, np.random.default_rng(seed))
        assert (values[:, 0] + 2 * values[:, 1]).sum() == pytest.approx((5.5 + count) / 2)
        assert (values <= 1).all() and (values >= 0).all() and (values[:, 0] >= values[:, 1]).all()


def test_variations_are_contractions_too():
    maps = attractors.vary(attractors.sample_maps(np.random.default_rng(3)), 50, np.random.default_rng(4))
    assert (np.abs(maps.direct) + np.abs(maps.mirrored)).max() <= attractors.LARGEST_STRETCH + 1e-9


def test_the_sierpinski_triangle_is_drawn():
    """Three halvings towards the corners: the drawn pixels are those whose row and column share no bit."""
    half = np.full((1, 3), 0.5 + 0j)
    corners = np.array([[0, 1, 1j]])
    density = attractors.draw(attractors.Maps(half, 0 * half, corners), (64, 64), np.random.default_rng(0))[0]
    rows, columns = np.nonzero(density)
    size = max(np.ptp(rows), np.ptp(columns)) + 1
    dimension = np.log(len(rows)) / np.log(size)
    assert dimension == pytest.approx(np.log(3) / np.log(2), abs=0.12)
    assert density.max() == 1
