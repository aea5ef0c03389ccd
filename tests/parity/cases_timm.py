"""timm's families: its own entry points, their numbers made small, every tensor redrawn."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import proof
import torch

from vit_jax.weights.references.timm import timm

timm = timm()

from timm.models import save_for_hf  # noqa: E402

SIDE = 16  # pixels of an image, 4x4 patches of 4
SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2, "patch_size": 4, "img_size": (SIDE, SIDE), "num_classes": 7}

KEY_BIAS = ("blocks.*.attn.k_norm.bias",)  # it moves all scores of a query alike


def make(folder: Path, architecture: str, **arguments: Any) -> Path:
    """Writes timm's model into `folder` as it writes one for the Hub; returns the folder."""
    model = timm.create_model(architecture, **arguments)
    random = np.random.default_rng(len(architecture))
    state = {name: proof.redrawn(random, name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    save_for_hf(model, str(folder), safe_serialization=True)
    return folder


def case(name: str, architecture: str, stride: int = 4, unseen: tuple[str, ...] = (), **arguments: Any) -> proof.Case:
    """Returns the case of an architecture whose numbers are SMALL, or `arguments`; "timm" stands before its name."""
    arguments = SMALL | arguments
    height, width = arguments["img_size"]
    return proof.Case(
        name=f"timm: {name}",
        format="timm",
        make=partial(make, architecture=architecture, **arguments),
        image_size=(height, width),
        resized=(height + stride, width + 3 * stride),
        unseen=unseen,
    )


CASES = [
    case("ViT", "vit_base_patch16_224"),
    case("ViT of wide images", "vit_base_patch16_224", img_size=(SIDE, 2 * SIDE)),
    case("ViT without biases of queries, keys and values", "vit_base_patch16_224_miil"),
    case("ViT, mean of patches", "vit_medium_patch16_gap_256"),
    case("ViT with registers, mean of patches", "vit_medium_patch16_reg4_gap_256"),
    case("DeiT", "deit_small_patch16_224"),
    case("DeiT, distilled", "deit_small_distilled_patch16_224"),
    case("DeiT III", "deit3_small_patch16_224"),
    case("DINO", "vit_small_patch16_224.dino", num_classes=0),
    case("DINOv2", "vit_small_patch14_dinov2", num_classes=0),
    case("DINOv2 with registers", "vit_small_patch14_reg4_dinov2", num_classes=0),
    case("DINOv2, giant", "vit_giant_patch14_dinov2", num_classes=0),
    case("MAE", "vit_base_patch16_224.mae", num_classes=0),
    case("CLIP", "vit_base_patch16_clip_224.laion2b"),
    case("CLIP, OpenAI's", "vit_base_patch16_clip_quickgelu_224.openai"),
    case("SigLIP", "vit_base_patch16_siglip_224", num_classes=0),
    case("SigLIP 2", "vit_base_patch16_siglip_256.v2_webli"),
    case("SigLIP, mean of patches", "vit_base_patch16_siglip_gap_224", num_classes=0),
    case("ViT with norms of queries and keys", "vit_base_patch16_224", unseen=KEY_BIAS, qk_norm=True),
    case("ViT, attention pooling beside a class token", "vit_base_patch16_224", global_pool="map"),
    case("hybrid of the root", "vit_tiny_r_s16_p8_224", img_size=(64, 64), patch_size=8, stride=32),
    case("hybrid", "vit_small_r26_s32_224", img_size=(64, 64), patch_size=1, stride=32),
    case("DINOv3", "vit_small_patch16_dinov3", num_classes=0),
    case("DINOv3 with biases", "vit_small_patch16_dinov3_qkvb", num_classes=0, global_pool="token"),
    case("DINOv3, plus", "vit_small_plus_patch16_dinov3", num_classes=0),
    case("EVA", "eva_giant_patch14_224"),
    case("EVA-02, small", "eva02_small_patch14_224", num_classes=0),
    case("EVA-02, base", "eva02_base_patch14_448"),
    case("ViT with rotary positions and registers", "vit_medium_patch16_rope_reg1_gap_256"),
]
