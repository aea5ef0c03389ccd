"""Families of Hugging Face transformers, tiny, written by save_pretrained."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from proof import Case, redrawn

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 4}
VIT = SMALL | {"intermediate_size": 24}
LABELS = {"id2label": dict(enumerate("ant bee cat dog elk fox gnu".split()))}
TEXT = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 12,
    "max_position_embeddings": 7,
}
MAE_DECODER = {
    "decoder_hidden_size": 8,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 12,
}
TOWER = {"text_config": TEXT, "vision_config": VIT}
OF_TEXT = ("text_model.", "text_projection.weight", "logit_")
KEY_BIAS = "encoder.layer.*.attention.attention.key.bias"
TOWER_KEY_BIAS = "encoder.layers.*.self_attn.k_proj.bias"


def saved(model: str, config: str, options: Mapping[str, Any], dtype: Any, **how: Any) -> Callable[[Path], Path]:
    """Returns what makes the model of a class, draws every tensor anew, and saves it."""

    def make(folder: Path) -> Path:
        random = np.random.default_rng(3)
        made = getattr(transformers, model)(getattr(transformers, config)(**options))
        for name, tensor in made.named_parameters():
            tensor.data = torch.tensor(redrawn(random, name, tuple(tensor.shape)))
        made.to(dtype).save_pretrained(folder, **how)
        return folder

    return make


def case(
    name: str,
    model: str,
    config: str,
    options: Mapping[str, Any],
    dtype: Any = torch.float32,
    how: Mapping[str, Any] | None = None,
    **more: Any,
) -> Case:
    """Returns the case of a class of transformers'; `how` is for save_pretrained, `more` for `Case`."""
    make = saved(model, config, options, dtype, **(how or {}))
    fields = {"format": "huggingface", "image_size": (16, 16), "resized": (24, 20)}
    return Case(name=f"transformers {name}", make=make, **fields | more)


def dinov2(name: str, model: str, options: Mapping[str, Any], prefix: str = "", **more: Any) -> Case:
    """Returns a case of DINOv2, with registers or without, which reads positions as a square."""
    registers = "WithRegisters" if "WithRegisters" in model else ""
    unseen, aside = (f"{prefix}{KEY_BIAS}",), (f"{prefix}embeddings.mask_token",)
    config = f"Dinov2{registers}Config"
    return case(name, model, config, options, unseen=unseen, left_aside=aside, fine_tuned_at=(24, 24), **more)


def mae(name: str, model: str, prefix: str = "") -> Case:
    """Returns a case of the masked autoencoder, whose decoder and mask token are of pre-training."""
    return case(
        name, model, "ViTMAEConfig", VIT | MAE_DECODER, unseen=(f"{prefix}{KEY_BIAS}",), left_aside=("decoder.",)
    )


def tower(name: str, model: str, config: str, options: Mapping[str, Any], prefix: str = "", **more: Any) -> Case:
    """Returns a case of CLIP or SigLIP, which read positions as a square, and mostly have no head for classes."""
    fields = {"unseen": (f"{prefix}{TOWER_KEY_BIAS}",), "fine_tuned": False, "fine_tuned_at": (24, 24)}
    return case(name, model, config, options, left_aside=(*more.pop("left_aside", ()), *OF_TEXT), **fields | more)


VISION = "vision_model."
SIGLIP_POOL = f"{VISION}head."

CASES = [
    case("ViT", "ViTForImageClassification", "ViTConfig", VIT | LABELS, unseen=(f"vit.{KEY_BIAS}",)),
    case("ViT with a pooler", "ViTModel", "ViTConfig", VIT, unseen=(KEY_BIAS,)),
    case(
        "ViT without biases of queries, on rows of patches",
        "ViTForImageClassification",
        "ViTConfig",
        VIT | LABELS | {"qkv_bias": False, "image_size": [12, 20], "hidden_act": "gelu_pytorch_tanh"},
        image_size=(12, 20),
        resized=None,
    ),
    case(
        "ViT of masked images",
        "ViTForMaskedImageModeling",
        "ViTConfig",
        VIT | {"encoder_stride": 4},
        unseen=(f"vit.{KEY_BIAS}",),
        left_aside=("decoder.", "vit.embeddings.mask_token"),
    ),
    dinov2("DINOv2", "Dinov2Model", SMALL),
    dinov2("DINOv2 with a classifier", "Dinov2ForImageClassification", SMALL | LABELS, "dinov2."),
    dinov2("DINOv2 with SwiGLU", "Dinov2Model", SMALL | {"use_swiglu_ffn": True}),
    dinov2("DINOv2 with registers", "Dinov2WithRegistersModel", SMALL),
    dinov2(
        "DINOv2 with registers and a classifier",
        "Dinov2WithRegistersForImageClassification",
        SMALL | LABELS | {"num_register_tokens": 2},
        "dinov2_with_registers.",
    ),
    tower("CLIP, both towers", "CLIPModel", "CLIPConfig", TOWER | {"projection_dim": 8}, VISION),
    tower("CLIP's vision tower", "CLIPVisionModel", "CLIPVisionConfig", VIT),
    tower(
        "CLIP's vision tower with its projection",
        "CLIPVisionModelWithProjection",
        "CLIPVisionConfig",
        VIT | {"projection_dim": 8},
        VISION,
    ),
    tower(
        "CLIP with a classifier",
        "CLIPForImageClassification",
        "CLIPConfig",
        TOWER | LABELS,
        VISION,
        fine_tuned=True,
        left_aside=(f"{VISION}post_layernorm",),
    ),
    tower("SigLIP, both towers", "SiglipModel", "SiglipConfig", TOWER, VISION),
    tower("SigLIP's vision tower", "SiglipVisionModel", "SiglipVisionConfig", VIT),
    tower(
        "SigLIP's vision tower without its pool",
        "SiglipVisionModel",
        "SiglipVisionConfig",
        VIT | {"vision_use_head": False},
        fine_tuned=True,
    ),
    tower(
        "SigLIP with a classifier",
        "SiglipForImageClassification",
        "SiglipConfig",
        TOWER | LABELS,
        VISION,
        fine_tuned=True,
        left_aside=(SIGLIP_POOL,),
    ),
    case("DeiT", "DeiTForImageClassification", "DeiTConfig", VIT | LABELS, unseen=(f"deit.{KEY_BIAS}",)),
    case(
        "DeiT, distilled",
        "DeiTForImageClassificationWithTeacher",
        "DeiTConfig",
        VIT | LABELS,
        unseen=(f"deit.{KEY_BIAS}",),
    ),
    case("DeiT with a pooler", "DeiTModel", "DeiTConfig", VIT, unseen=(KEY_BIAS,)),
    mae("MAE's encoder", "ViTMAEModel"),
    mae("MAE", "ViTMAEForPreTraining", "vit."),
    case(
        "DINOv3",
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        VIT | {"num_register_tokens": 3},
        left_aside=("embeddings.mask_token",),
        fine_tuned=False,
    ),
    case(
        "DINOv3 with a gated MLP, without registers",
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        VIT | {"use_gated_mlp": True, "hidden_act": "silu", "key_bias": True},
        left_aside=("embeddings.mask_token",),
        unseen=("embeddings.register_tokens",),  # there are none
        fine_tuned=False,
    ),
    case(
        "ViT in shards",
        "ViTForImageClassification",
        "ViTConfig",
        VIT | LABELS,
        how={"max_shard_size": "20KB"},
        unseen=(f"vit.{KEY_BIAS}",),
    ),
    dinov2("DINOv2 in bfloat16", "Dinov2ForImageClassification", SMALL | LABELS, "dinov2.", dtype=torch.bfloat16),
    case("ViT in float16", "ViTModel", "ViTConfig", VIT, dtype=torch.float16, unseen=(KEY_BIAS,)),
]
