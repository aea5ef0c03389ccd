"""torchvision, which both libraries look for and no Vision Transformer of theirs needs: hidden where it is broken."""

import importlib
import sys


def works() -> bool:
    """Returns whether torchvision is there and fits torch; one that does not is hidden from then on.

    A build for another torch is found by whoever looks for it, and fails at its import ("operator torchvision::nms does
    not exist"), and with it those who would have done without.
    """
    try:
        return bool(importlib.import_module("torchvision"))
    except Exception:  # a RuntimeError, but an AttributeError where somebody tried before
        hide()
        return False


def hide() -> None:
    """Makes torchvision, or what stands in for it, as if it were not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    sys.modules["torchvision"] = None  # pyright: ignore[reportArgumentType]  # so that find_spec finds none either
