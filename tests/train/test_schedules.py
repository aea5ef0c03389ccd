"""The learning rate over a run."""

import numpy as np
import pytest

from vit_jax.train import schedules


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1]),
        ({"name": "linear"}, [1, 0.75, 0.25, 0]),
        ({"name": "linear", "end": 0.2}, [1, 0.8, 0.4, 0.2]),
        ({"name": "cosine"}, [1, (1 + np.cos(np.pi / 4)) / 2, (1 + np.cos(3 * np.pi / 4)) / 2, 0]),
        ({"name": "rsqrt", "timescale": 25}, [1, 2**-0.5, 4**-0.5, 5**-0.5]),
        ({"name": "rsqrt", "timescale": 25, "cooldown_steps": 50}, [1, 2**-0.5, 0.5 * 4**-0.5, 0]),
    ],
)
def test_schedules(schedule, expected):
    share = schedules.build(100, **schedule)
    np.testing.assert_allclose([share(step) for step in (0, 25, 75, 100)], expected, atol=1e-6)


def test_warmup_rises_to_the_peak_and_the_rest_is_the_schedules():
    share = schedules.build(30, "linear", warmup_steps=10)
    np.testing.assert_allclose([share(s) for s in (0, 1, 5, 10, 20, 30)], [0, 0.1, 0.5, 1, 0.5, 0], atol=1e-6)
