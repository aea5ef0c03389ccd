"""timm, run on a checkpoint in its own format."""

import importlib
import sys
import unittest.mock
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vit_jax.weights.references import torchvision

# What timm imports of torchvision at its top, and no Vision Transformer of its uses.
OF_TORCHVISION = ("datasets", "models.feature_extraction", "ops.misc", "transforms.functional")


@cache
def timm() -> ModuleType:
    """Returns the library; raises ImportError where it, or torch, is not installed.

    Mocks stand in for torchvision while timm is imported, where it cannot be, and not a moment longer.
    """
    stand_ins: list[str] = []
    if not torchvision.works():
        paths = [["torchvision", *name.split(".")] for name in OF_TORCHVISION]
        stand_ins = sorted({".".join(path[:length]) for path in paths for length in range(1, len(path) + 1)})
    sys.modules.update({name: unittest.mock.MagicMock() for name in stand_ins})
    try:
        return importlib.import_module("timm")
    finally:
        if stand_ins:
            torchvision.hide()


def version() -> str:
    """Returns the library and its version."""
    return f"timm {timm().__version__}"


def activations(place: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the tokens after each block, and the logits, of the checkpoint at `place`; see `references.activations`.

    timm reads the folder, strictly, and resamples the positions for images of another size.
    """
    folder = Path(place) if Path(place).is_dir() else Path(place).parent
    model = timm().create_model(f"local-dir:{folder}", pretrained=True).double().eval()
    if model.patch_embed.img_size != images.shape[1:3]:
        model.set_input_size(img_size=images.shape[1:3])
    return run(model, images)


def run(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what a model of timm's computes from images (batch, height, width, channels), in float64."""
    torch = importlib.import_module("torch")
    found = watched(model)
    with torch.no_grad():
        found["logits"] = model(torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2))
    return {name: tensor.numpy() for name, tensor in found.items()}


def watched(model: Any) -> dict[str, Any]:
    """Returns what will hold the tokens after each block once the model has run."""
    found: dict[str, Any] = {}
    for number, block in enumerate(getattr(model, "blocks", ())):
        block.register_forward_hook(lambda _m, _i, tokens, key=f"block{number:02}": found.update({key: tokens}))
    return found
