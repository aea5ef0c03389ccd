"""timm imports torchvision at its top, and a Vision Transformer uses none of it; where it is absent, mocks will do."""

import importlib
import importlib.util
import sys
import unittest.mock
from types import ModuleType

MOCKED = ("", ".datasets", ".models", ".models.feature_extraction", ".ops", ".ops.misc", ".transforms")


def module(name: str) -> ModuleType:
    """Returns a module of timm's; raises ImportError where timm is not installed."""
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        names = [f"torchvision{part}" for part in (*MOCKED, ".transforms.functional")]
        sys.modules.update({name: unittest.mock.MagicMock() for name in names})
    return importlib.import_module(name)
