"""The Vision Transformer in JAX and Flax (arXiv 2010.11929): pretrain, fine-tune, evaluate, look inside, predict."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vit_jax.pretrained import list_models as list_models
    from vit_jax.pretrained import load as load

__version__ = "0.1.0"

PRETRAINED = ("list_models", "load")


def __getattr__(name: str) -> Any:
    """Returns what vit_jax.pretrained gives, which is imported when it is asked for: it takes JAX along."""
    if name not in PRETRAINED:
        raise AttributeError(f"module 'vit_jax' has no attribute {name!r}")
    return getattr(importlib.import_module("vit_jax.pretrained"), name)


def __dir__() -> list[str]:
    """Returns the names that there are, those not yet imported too."""
    return sorted([*globals(), *PRETRAINED])
