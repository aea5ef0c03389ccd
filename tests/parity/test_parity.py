"""Every family against its own library: in, resized, out and back. Needs the packages of the `parity` extra."""

import warnings

import pytest

warnings.simplefilter("ignore")  # the libraries' own, at their import

import cases  # noqa: E402
import proof  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
CASES = {case.name: case for case in cases.CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_family_computes_here_what_it_computes_there(name, tmp_path):
    found = proof.prove(CASES[name], tmp_path)
    assert max(found.blocks, found.logits, found.resized or 0, found.fine_tuned or 0) <= proof.TOLERANCE, found
    assert found.written <= 1e-12, found


@pytest.mark.parametrize("name", CASES)
def test_a_row_gone_wrong_is_noticed(name):
    assert proof.unseen_mutations(CASES[name]) == set(CASES[name].unseen)


@pytest.mark.parametrize("name", CASES)
def test_numerics_gone_wrong_are_noticed(name):
    assert proof.unseen_numerics(CASES[name]) == set(CASES[name].unseen_numerics)
