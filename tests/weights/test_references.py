"""What stands between us and the families' own libraries; what they compute is the matter of tests/parity."""

import importlib.util
import sys

import pytest

from vit_jax.weights.references import torchvision


@pytest.fixture
def others(monkeypatch):
    """Puts back what lies in sys.modules of torchvision."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    del sys.modules["torchvision"]


@pytest.mark.parametrize("error", ["RuntimeError('operator torchvision::nms does not exist')", "AttributeError('x')"])
def test_a_torchvision_for_another_torch_is_as_if_not_installed(error, tmp_path, monkeypatch, others):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "ops.py").write_text("")
    (tmp_path / "torchvision" / "__init__.py").write_text(f"from torchvision import ops\nraise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("torchvision")
    assert not torchvision.works()
    assert importlib.util.find_spec("torchvision") is None  # as transformers asks
    with pytest.raises(ModuleNotFoundError):  # as timm does
        importlib.import_module("torchvision.ops")


def test_one_that_works_is_left_alone(tmp_path, monkeypatch, others):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("ops = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert torchvision.works()
    assert importlib.import_module("torchvision").ops == 1
