"""Fields that hold pairs, changed on the command line; the other kinds are in test_commands.py."""

import pytest
from ml_collections import ConfigDict

from vit_jax.errors import UserError
from vit_jax.tools import configuration


@pytest.mark.parametrize("before", [(), (("head/.*", 2.0),), (("a", 1.0), ("b", 2.0))])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(('head/.*', 10.0),)", (("head/.*", 10.0),)),
        ("(('positions/.*', 0), ('head/.*', 1e1))", (("positions/.*", 0.0), ("head/.*", 10.0))),
        ("()", ()),
    ],
)
def test_pairs_may_be_any_number(before, text: str, expected):
    config = ConfigDict({"optimizer": {"rates": before}}).lock()
    configuration.override(config, f"--config.optimizer.rates={text}")
    assert config.optimizer.rates == expected
    assert all(isinstance(number, float) for _, number in config.optimizer.rates)


@pytest.mark.parametrize(
    "text",
    [
        "(('head/.*', 10.0))",  # a comma is missing
        "head/.*=10",
        "10",
        "'ab'",
        "(('head/.*', 'ten'),)",
        "(('head/.*', True),)",
        "(('head/.*', 1, 2),)",
        "((1, 2),)",
    ],
)
def test_what_is_no_pair_is_one_line_with_an_example(text: str):
    with pytest.raises(UserError) as caught:
        configuration.value("config.optimizer.rates", text, ())
    assert "wants any number of pairs in parentheses" in str(caught.value)
    assert "like (('head/.*', 10.0),); got " in str(caught.value) and repr(text) in str(caught.value)
