"""Hugging Face transformers, run on a checkpoint in its own format."""

import importlib
import os
from types import ModuleType
from typing import Any

import numpy as np

from vit_jax.errors import UserError
from vit_jax.weights.references import torchvision

PRETRAINING = ("ForPreTraining", "ForMaskedImageModeling")


def transformers() -> ModuleType:
    """Returns the library; raises ImportError where it, or torch, is not installed."""
    importlib.import_module("torch")
    torchvision.works()  # or is hidden: transformers asks only whether it can be found
    return importlib.import_module("transformers")


def version() -> str:
    """Returns the library and its version."""
    return f"transformers {transformers().__version__}"


def activations(place: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the tokens after each block, and the logits, of the checkpoint at `place`; see `references.activations`.

    The class that the config names reads the folder, strictly. For logits, a model without any has the features that
    ours has: the projected image of CLIP; else what a pooler put out; else, of SigLIP, the mean of the patches, and of
    the others the class token, both after the last norm. A masked autoencoder sees every patch, each in its place.

    Raises:
      UserError: the class has arrays that the file has not, or the file some that the class has not.
    """
    torch = importlib.import_module("torch")
    model, pooled = _model(place if os.path.isdir(place) else os.path.dirname(place), torch)
    config, name = getattr(model.config, "vision_config", model.config), type(model).__name__
    project = getattr(model, "visual_projection", None)
    if name.endswith(PRETRAINING):
        model = getattr(model, model.base_model_prefix)
    elif hasattr(model, "text_model"):
        model = model.vision_model
    with torch.no_grad():
        pixels = torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2)
        found = model(pixels, output_hidden_states=True, **_options(config, images.shape, torch))
        logits = next((found[key] for key in ("logits", "image_embeds") if key in found), None)
        if logits is None and pooled and found.get("pooler_output") is not None:
            logits = project(found.pooler_output) if project else found.pooler_output
        elif logits is None:
            tokens = found.last_hidden_state
            logits = tokens.mean(1) if "siglip" in config.model_type else tokens[:, 0]
    blocks = {f"block{number:02}": tokens.numpy() for number, tokens in enumerate(found.hidden_states[1:])}
    return blocks | {"logits": logits.numpy()}


def _model(folder: str, torch: Any) -> tuple[Any, bool]:
    """Returns the model, and whether it has a pooler from the file rather than a new one."""
    library = transformers()
    names = library.AutoConfig.from_pretrained(folder).architectures or ["AutoModel"]
    model, report = getattr(library, names[0]).from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    poolers = {name for name in report["missing_keys"] if "pooler." in name}
    odd = {key: sorted(set(names) - poolers) for key, names in report.items() if set(names) - poolers}
    if odd:
        raise UserError(f"{names[0]} of transformers does not load {folder} strictly: {odd}")
    return model.eval(), not poolers


def _options(config: Any, shape: tuple[int, ...], torch: Any) -> dict[str, Any]:
    """Returns what a class must be told to see all patches of images of this shape."""
    options, side = {}, config.image_size
    trained = (side, side) if isinstance(side, int) else tuple(side)
    if shape[1:3] != trained and not config.model_type.startswith("dino"):  # these adapt by themselves
        options["interpolate_pos_encoding"] = True
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0
        places = torch.arange(shape[1] // config.patch_size * (shape[2] // config.patch_size))
        options["noise"] = places.double().expand(shape[0], -1)
    return options
