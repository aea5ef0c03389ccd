"""The families of transformers' checkpoints as data: their tables, what their configs leave unsaid, their classes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from vit_jax.errors import UserError
from vit_jax.weights.huggingface import rows as tables
from vit_jax.weights.huggingface.rows import Rows

# By the names of hidden_act (transformers, activations.py); of two names for one, the first is written.
ACTIVATIONS = {
    "gelu": "gelu_exact",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "gelu_quick",
    "silu": "silu",
    "swish": "silu",
}


@dataclasses.dataclass(frozen=True)
class Class:
    """A class of transformers' that reads a family's checkpoints.

    Attributes:
      name: as a config's "architectures" has it.
      pool: what it makes features of, a name in models.heads.POOLS.
      head: what reads those, a name in tables.HEADS.
      rows: what its table has beside the family's.
      norm_last: as in `Architecture`.
    """

    name: str
    pool: str
    head: str = ""
    rows: Rows = ()
    norm_last: str = "tokens"


@dataclasses.dataclass(frozen=True)
class Family:
    """What the checkpoints of one `model_type` have in common.

    Attributes:
      rows: the table of the encoder, by whether its MLPs are gated, without the prefix.
      classes: that read it, those with a head first.
      defaults: the keys of its config that matter here, with what transformers 5.24 takes where one is missing
        (models/*/configuration_*.py).
      preprocessor: keys of preprocessor_config.json, as they were published with the family's first checkpoints.
      prefix: what stands before the names in classes with a head.
      wrapper: the model_type of a config that has this one as its "vision_config".
      made: options of `Architecture` that differ from the paper's and that no array tells.
      aside: a pattern of names that nothing here computes with, and what to call them.
      unread: the same, of what is there beside a classifier, which does not read it.
      position_resize: what interpolate_pos_encoding does in its modeling_*.py.
      square: whether its positions are read as a square.
    """

    rows: Callable[[bool], Rows]
    classes: tuple[Class, ...]
    defaults: Mapping[str, Any]
    preprocessor: Mapping[str, Any]
    prefix: str
    wrapper: str = ""
    made: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    aside: tuple[str, str] = ("", "")
    unread: tuple[str, str] = ("", "")
    position_resize: str = "cubic_torch"
    square: bool = True


def _sizes(width: int, depth: int, heads: int, patch: int) -> dict[str, Any]:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size", "num_channels")
    return dict(zip(names, (width, depth, heads, 224, patch, 3), strict=True))


VIT = _sizes(768, 12, 12, 16) | {
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "qkv_bias": True,
}
POOLER_KEYS = {"pooler_output_size": None, "pooler_act": "tanh"}
DINOV2 = _sizes(768, 12, 12, 14) | {
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
}
DINOV3 = _sizes(384, 12, 6, 16) | {
    "intermediate_size": 1536,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "query_bias": True,
    "key_bias": False,
    "value_bias": True,
    "use_gated_mlp": False,
    "num_register_tokens": 0,
    "rope_theta": 100.0,
}
CLIP = _sizes(768, 12, 12, 32) | {
    "intermediate_size": 3072,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "projection_dim": 512,
}
SIGLIP = _sizes(768, 12, 12, 16) | {
    "intermediate_size": 3072,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
    "vision_use_head": True,
}

HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
OPENAI = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


# resample: 2 is bilinear, 3 bicubic (PIL.Image.Resampling).
SQUASHED = {"image_processor_type": "ViTImageProcessor", "size": _square(224), "resample": 2}
DEIT_CROPPED = {
    "image_processor_type": "DeiTImageProcessor",
    "size": _square(256),
    "do_center_crop": True,
    "crop_size": _square(224),
    "resample": 3,
}
DINOV2_CROPPED = {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 256},
    "do_center_crop": True,
    "crop_size": _square(224),
    "resample": 3,
}
CLIP_CROPPED = {**DINOV2_CROPPED, "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224}}
SIGLIP_SQUASHED = {"image_processor_type": "SiglipImageProcessor", "size": _square(224), "resample": 3}

TEXT = (r"text_model\..*|text_projection\.weight|logit_(scale|bias)", "the text tower")
PRETRAINING = (r"decoder\..*|embeddings\.mask_token", "the decoder")

FAMILIES = {
    "vit": Family(
        rows=tables.vit,
        classes=(
            Class("ViTForImageClassification", "class_token", "classifier"),
            Class("ViTModel", "class_token", rows=tables.POOLER),
        ),
        defaults=VIT | POOLER_KEYS,
        preprocessor=SQUASHED | HALF,
        prefix="vit.",
        aside=PRETRAINING,
        square=False,
    ),
    "dinov2": Family(
        rows=tables.dinov2,
        classes=(
            Class("Dinov2ForImageClassification", "class_token_and_mean", "classifier"),
            Class("Dinov2Model", "class_token"),
        ),
        defaults=DINOV2,
        preprocessor=DINOV2_CROPPED | IMAGENET,
        prefix="dinov2.",
    ),
    "dinov2_with_registers": Family(
        rows=tables.dinov2_with_registers,
        classes=(
            Class("Dinov2WithRegistersForImageClassification", "class_token_and_mean", "classifier"),
            Class("Dinov2WithRegistersModel", "class_token"),
        ),
        defaults=DINOV2 | {"patch_size": 16, "num_register_tokens": 4},
        preprocessor=DINOV2_CROPPED | IMAGENET,
        prefix="dinov2_with_registers.",
        position_resize="cubic",  # with antialias=True, and so with a = -0.5
    ),
    "deit": Family(
        rows=tables.deit,
        classes=(
            Class("DeiTForImageClassificationWithTeacher", "distilled", "cls_classifier"),
            Class("DeiTForImageClassification", "class_token", "classifier"),
            Class("DeiTModel", "class_token", rows=tables.POOLER),
        ),
        defaults=VIT | POOLER_KEYS,
        preprocessor=DEIT_CROPPED | IMAGENET,
        prefix="deit.",
        aside=PRETRAINING,
        square=False,
    ),
    "vit_mae": Family(
        rows=tables.vit,
        classes=(Class("ViTMAEModel", "class_token"),),
        defaults=VIT,
        preprocessor=SQUASHED | IMAGENET,
        prefix="vit.",
        aside=PRETRAINING,
        square=False,
    ),
    "dinov3_vit": Family(
        rows=tables.dinov3,
        classes=(Class("DINOv3ViTModel", "class_token"),),
        defaults=DINOV3,
        preprocessor={**SQUASHED, **IMAGENET, "image_processor_type": "DINOv3ViTImageProcessor"},
        prefix="",
        made={"rotary": "dinov3", "positions": "none"},
        square=False,
    ),
    "clip_vision_model": Family(
        rows=tables.clip,
        classes=(
            Class("CLIPForImageClassification", "mean", "classifier", tables.CLIP_NORM_UNREAD, "none"),
            Class("CLIPVisionModelWithProjection", "class_token", "visual_projection", tables.CLIP_NORM, "features"),
            Class("CLIPVisionModel", "class_token", rows=tables.CLIP_NORM, norm_last="features"),
        ),
        defaults=CLIP,
        preprocessor=CLIP_CROPPED | OPENAI,
        prefix="vision_model.",
        wrapper="clip",
        made={"patch_bias": False, "norm_embedded": True},
        aside=TEXT,
    ),
    "siglip_vision_model": Family(
        rows=tables.siglip,
        classes=(
            Class("SiglipForImageClassification", "mean", "classifier"),
            Class("SiglipVisionModel", "map"),
            Class("SiglipVisionModel", "mean"),
        ),
        defaults=SIGLIP,
        preprocessor=SIGLIP_SQUASHED | HALF,
        prefix="vision_model.",
        wrapper="siglip",
        aside=TEXT,
        unread=(r"head\..*", "the attention pool"),
    ),
}


def of(model_type: Any) -> tuple[str, Family]:
    """Returns the name and the family of a config's model_type; raises UserError for one that is not read here."""
    for name, family in FAMILIES.items():
        if model_type in (name, family.wrapper):
            return name, family
    if model_type in ("siglip2", "siglip2_vision_model"):
        raise UserError(
            f'model type "{model_type}" takes images of any shape (NaFlex), which no model here does; take a SigLIP 2 '
            'checkpoint of fixed resolution, whose model type is "siglip"'
        )
    known = [word for name, family in FAMILIES.items() for word in (name, family.wrapper) if word]
    raise UserError(f'transformers\' model type "{model_type}" is not read here; those that are: {", ".join(known)}')
