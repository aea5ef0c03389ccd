"""Activations as they are stored, and what is wrong with those that somebody changed."""

import numpy as np
import pytest

from vit_jax.errors import UserError
from vit_jax.evaluate import certificate

FOUND = {
    "block00": np.linspace(-4, 2, 96, dtype=np.float32).reshape(1, 4, 24),
    "logits": np.linspace(0, 0.5, 5, dtype=np.float32)[None],
}


def test_samples_tell_a_difference_relative_to_the_largest_value_or_one():
    stored = certificate.samples(FOUND)
    assert max(certificate.differences(FOUND, stored).values()) < 1e-8
    moved = {name: array + np.float32(0.01) for name, array in FOUND.items()}
    for wanted in (stored, FOUND):
        found = certificate.differences(moved, wanted)
        assert found == pytest.approx({"block00": 0.01 / 4, "logits": 0.01}, rel=1e-4)
        assert certificate.first_departure(found) == "block00"


def test_what_is_not_a_number_departs():
    broken = {**FOUND, "logits": np.full_like(FOUND["logits"], np.nan)}
    assert certificate.first_departure(certificate.differences(broken, certificate.samples(FOUND))) == "logits"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [1, 6]}, r"logits has shape \(1, 5\) here and \(1, 6\) there: this is another model"),
        ({"shape": 3}, "what stands for samples of logits is none"),
        ({"largest": "much"}, "what stands for samples of logits is none"),
        ({"largest": float("inf")}, "the samples of logits are not all numbers"),
        ({"values": [0.0, 0.0, 0.0, 0.0, float("nan")]}, "the samples of logits are not all numbers"),
        ({"values": [0.0]}, "1 samples of logits, wanted 5"),
        ({"values": 0.0}, "the samples of logits are not all numbers"),
        ({"values": [[0.0], 1]}, "what stands for samples of logits is none"),
    ],
)
def test_samples_that_are_none_are_a_line(changes, message):
    stored = certificate.samples(FOUND)
    with pytest.raises(UserError, match=message):
        certificate.differences(FOUND, {"logits": stored["logits"] | changes})
    with pytest.raises(UserError, match="what stands for samples of logits is none"):
        certificate.differences(FOUND, {"logits": 3})
    with pytest.raises(UserError, match="nothing to compare: block00, logits here, block07 there"):
        certificate.differences(FOUND, {"block07": stored["logits"]})
