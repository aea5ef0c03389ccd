"""SAM and GSAM on a loss whose gradient is known: half of the sum of curvature x parameter squared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UserError
from vit_jax.train import schedules, sharpness

CURVATURE = {"a": jnp.array([1.0, 4.0]), "b": jnp.array([[9.0]])}
HERE = {"a": jnp.array([3.0, 1.0]), "b": jnp.array([[-4 / 3]])}  # gradients 3, 4 and -12: their norm is 13


def gradients_at(parameters):
    return jax.tree.map(jnp.multiply, CURVATURE, parameters)


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def at_constant_radius(radius: float, alpha: float):
    return sharpness.build(lambda step: 0.1 + 0.0 * step, 0.1, 9, radius, radius, alpha)


def test_sams_gradient_is_that_a_radius_up():
    found = at_constant_radius(0.26, 0.0).gradients(gradients_at, HERE, gradients_at(HERE), jnp.int32(0))
    np.testing.assert_allclose(flat(found), [3 + 0.06, 4 * (1 + 0.08), 9 * (-4 / 3 - 0.24)], rtol=1e-5)


def test_gsam_takes_off_what_is_orthogonal():
    here = gradients_at(HERE)
    above = at_constant_radius(1.3, 0.0).gradients(gradients_at, HERE, here, jnp.int32(0))
    np.testing.assert_allclose(flat(above), [3.3, 5.6, -22.8], rtol=1e-5)
    found = at_constant_radius(1.3, 0.6).gradients(gradients_at, HERE, here, jnp.int32(0))
    orthogonal = (flat(above) - flat(found)) / 0.6
    # 3 x 3.3 + 4 x 5.6 + 12 x 22.8 = 305.9 along 562.09 = 3.3^2 + 5.6^2 + 22.8^2
    along = 305.9 / 562.09
    np.testing.assert_allclose(orthogonal, [3 - 3.3 * along, 4 - 5.6 * along, -12 + 22.8 * along], rtol=1e-4)
    assert abs(orthogonal @ flat(above)) < 1e-3
    np.testing.assert_allclose(flat(found) @ flat(above), 562.09, rtol=1e-5)  # as steep as SAM up there


def test_no_way_up_is_the_plain_gradient_bit_for_bit():
    up = sharpness.Sharpness(lambda step: jnp.float32(0), 0.0)
    here = gradients_at(HERE)
    assert flat(up.gradients(gradients_at, HERE, here, jnp.int32(0))).tobytes() == flat(here).tobytes()
    assert at_constant_radius(0.0, 0.0) is None  # and costs nothing
    still = jax.tree.map(jnp.zeros_like, HERE)
    np.testing.assert_array_equal(flat(sharpness.close_gap(still, sharpness.ascend(still, still, 0.5), 0.6)), 0)


def test_the_radius_goes_with_the_learning_rate():
    """The published run's 0.6 to 0.1 over a linear schedule that ends at a hundredth."""
    share = schedules.build(110, "linear", warmup_steps=10, end=0.01)
    up = sharpness.build(lambda step: 0.003 * share(step), 0.003, 110, 0.6, 0.1, 0.6)
    found = [float(up.radius(jnp.int32(step))) for step in (0, 5, 10, 60, 110)]
    np.testing.assert_allclose(found, [0.1, 0.1 + 0.5 * 0.49 / 0.99, 0.6, 0.35, 0.1], rtol=1e-5)


def test_at_a_constant_learning_rate_the_radius_is_the_largest():
    share = schedules.build(9, "constant", warmup_steps=2)
    up = sharpness.build(lambda step: 0.3 * share(step), 0.3, 9, 0.6, 0.1, 0.0)
    assert [float(up.radius(jnp.int32(step))) for step in (0, 1, 5)] == [pytest.approx(0.6)] * 3


@pytest.mark.parametrize("numbers", [(0.1, 0.2, 0.0), (-0.1, -0.1, 0.0), (0.1, 0.1, -1.0), (0.0, 0.0, 0.5)])
def test_what_cannot_be_meant(numbers):
    with pytest.raises(UserError, match="sharpness wants 0 <= rho_min <= rho_max, .*; got rho_max"):
        sharpness.build(lambda step: 0.1, 0.1, 9, *numbers)
