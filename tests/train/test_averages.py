"""An average of the parameters over the run."""

import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UserError
from vit_jax.train.averages import Average


def test_the_average_forgets_the_start_and_then_keeps_its_decay():
    """By hand: of steps 1, 2, 3 it takes 9/10, 9/11 and 9/12, and from 9/(t + 9) <= 1 - decay on just that."""
    average, here = Average(0.5), {"head": jnp.zeros(1)}
    state = average.start(here)
    for step, expected in enumerate((9 / 10, 2 / 11 * 9 / 10 + 9 / 11), start=0):
        state = average.update(state, {"head": jnp.ones(1)}, jnp.int32(step))
        np.testing.assert_allclose(state["head"], expected, rtol=1e-6)
    late = average.update({"head": jnp.zeros(1)}, {"head": jnp.ones(1)}, jnp.int32(1000))
    assert float(late["head"][0]) == 0.5
    paper = Average(0.9999).update({"head": jnp.zeros(1)}, {"head": jnp.ones(1)}, jnp.int32(10**6))
    assert float(paper["head"][0]) == pytest.approx(1e-4, rel=1e-4)


def test_what_does_not_move_stays_bit_for_bit():
    values = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=1000), jnp.float32)}
    found = Average(0.37).update(values, values, jnp.int32(20))
    assert np.asarray(found["kernel"]).tobytes() == np.asarray(values["kernel"]).tobytes()


def test_without_a_decay_nothing_is_kept():
    assert Average().start({"head": jnp.ones(1)}) is None
    assert Average().update(None, {"head": jnp.ones(1)}, jnp.int32(0)) is None
    with pytest.raises(UserError, match="average.decay is a share"):
        Average(-0.1)
