"""Makes timm_architectures.json and timm.csv in vit_jax/weights/published: what timm says of its Vision Transformers.

The first holds a line for each architecture that `vit_jax.models` expresses: the options that build it, the size of its
images, the class that it is of, and the forms its arrays have; those of timm's that are something else are counted and
left out. The second holds a line for each published set of weights of those architectures. Every model is built on the
meta device, so nothing is drawn; its facts are read off its modules, and its names and shapes must be those of the
model that the options build here.

Run with the packages of the `parity` extra, torchvision or not: python tests/golden/make_timm_models.py
"""

import collections
import csv
import dataclasses
import json
import pathlib
import warnings

import numpy as np
import torch

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts
from vit_jax.models.architecture import Architecture
from vit_jax.weights import adapt, facts, positions
from vit_jax.weights.references import timm as reference
from vit_jax.weights.rename import to_ours, units_of
from vit_jax.weights.timm import rows

timm = reference.timm()  # it stands in for torchvision where that is absent

from timm.layers import GroupNorm, GroupNormAct  # noqa: E402
from timm.models import get_pretrained_cfg, model_entrypoint  # noqa: E402

warnings.simplefilter("ignore")
FOLDER = pathlib.Path(__file__).parents[2] / "vit_jax" / "weights" / "published"
MODULES = [f"timm.models.{name}" for name in ("vision_transformer", "vision_transformer_hybrid", "deit", "eva")]
CLASSES = ("VisionTransformer", "VisionTransformerDistilled", "Eva")
LAYERS = {
    "block": ("Block", "EvaBlock"),
    "attention": ("Attention", "EvaAttention"),
    "mlp": ("Mlp", "GluMlp", "SwiGLU"),
    "norm": ("LayerNorm",),
    "pool": ("AttentionPoolLatent",),
}
ACTIVATIONS = {"GELU": "gelu_exact", "GELUTanh": "gelu_tanh", "QuickGELU": "gelu_quick", "SiLU": "silu"}
POOLS = {"token": "class_token", "avg": "mean", "map": "map", "": "none"}
ROTARY = {
    "eva02": ("RotaryEmbeddingCat", {"temperature": 1e4, "in_pixels": False, "ref_feat_shape": (16, 16)}, False),
    "dinov3": ("RotaryEmbeddingDinoV3", {"temperature": 100, "normalize_coords": "separate"}, True),
}


class NotOursError(Exception):
    """What the one Vision Transformer does not express."""


def only(values, what):
    """Returns the one value that all of them are."""
    distinct = set(values)
    if len(distinct) != 1:
        raise NotOursError(f"{what}: {', '.join(sorted(map(str, distinct)))}")
    return distinct.pop()


def known(module, kind):
    """Returns the module; raises if it is of no class known here."""
    name = type(module).__name__
    if name not in LAYERS[kind]:
        raise NotOursError(f"{kind} {name}")
    return module


def options(model):
    """Returns the options that the arrays tell, those that the modules tell, and the forms."""
    if type(model).__name__ not in CLASSES:
        raise NotOursError(type(model).__name__)
    blocks = [known(block, "block") for block in model.blocks]
    for block in blocks:
        known(block.attn, "attention"), known(block.mlp, "mlp")
    told = {
        "pool": pool(model),
        "activation": activation([block.mlp for block in blocks], model.attn_pool),
        "norm_epsilon": only({m.eps for m in norms(model)}, "epsilons of norms"),
        "rotary": rotary(getattr(model, "rope", None)),
    }
    arrays = {name: np.broadcast_to(np.float32(0), tuple(tensor.shape)) for name, tensor in model.state_dict().items()}
    forms, table = rows.forms_of(arrays), ()
    if hasattr(model.patch_embed, "backbone"):
        told |= stem(model.patch_embed.backbone)
        table = rows.stem_rows(units_of(arrays, rows.UNITS))
    heads = only({block.attn.num_heads for block in blocks}, "heads")
    ours = to_ours(arrays, rows.rows(forms) + table, rows.sizes(heads))
    stride = facts.size(ours).stride
    image_size = tuple(side // step * step for side, step in zip(model.patch_embed.img_size, stride, strict=True))
    if "positions/table" in ours:
        positions.unfold(ours, image_size)
    found = {**facts.model_options(ours), "class_token": "class_token" in ours, **told}
    adapt.refuse_misfits(ours, counts.shapes(models.build(**found), image_size))
    return found, image_size, forms


def norms(model):
    """Returns the layer norms outside a hybrid's stem."""
    for name, module in model.named_modules():
        if "Norm" in type(module).__name__ and ".backbone." not in name:
            yield known(module, "norm")


def pool(model):
    """Returns our word for the pool."""
    if type(model).__name__ == "VisionTransformerDistilled":
        return "distilled"
    if model.global_pool not in POOLS or getattr(model, "pool_include_prefix", False):
        raise NotOursError(f"pool {model.global_pool}")
    if model.attn_pool is not None:
        known(model.attn_pool, "pool")
        if type(model).__name__ == "Eva":
            raise NotOursError("attention pooling of prefix tokens too")
        if model.attn_pool.num_heads != model.blocks[0].attn.num_heads:
            raise NotOursError("attention pooling by other heads")
    return POOLS[model.global_pool]


def activation(mlps, attention_pool):
    """Returns our word for the activation of every MLP."""
    mlps = [*mlps, attention_pool.mlp] if attention_pool is not None else mlps
    for module in mlps:
        if getattr(module, "gate_last", False):
            raise NotOursError("the gate is the second half")
        if getattr(module.act, "approximate", "none") != "none":
            raise NotOursError("another gelu")
    return only({ACTIVATIONS.get(type(module.act).__name__, "?") for module in mlps}, "activations")


def rotary(rope):
    """Returns our word for rotary positions."""
    if rope is None:
        return "none"
    for word, (name, numbers, half) in ROTARY.items():
        numbers = numbers | {"grid_offset": 0.0, "grid_indexing": "ij", "rotate_half": half}
        if type(rope).__name__ == name and all(getattr(rope, field) == value for field, value in numbers.items()):
            return word
    raise NotOursError(f"rotary {type(rope).__name__}")


def stem(backbone):
    """Returns the options of a hybrid's stem."""
    convolutions = [m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)]
    if {type(m).__name__ for m in convolutions} != {"StdConv2dSame"} or {m.eps for m in convolutions} != {1e-8}:
        raise NotOursError("another stem")
    epsilons = {m.eps for m in backbone.modules() if isinstance(m, GroupNorm | GroupNormAct)}
    return {"standardization": "timm", "stem_norm_epsilon": only(epsilons, "epsilons of the stem's norms")}


def differing(found):
    """Returns the options less those that an Architecture has of itself."""
    defaults = {field.name: field.default for field in dataclasses.fields(Architecture)}
    plain = dict(found)
    plain.pop("classes")
    if plain["class_token"] == (plain["pool"] in ("class_token", "distilled")):
        plain.pop("class_token")
    return {name: value for name, value in plain.items() if name == "size" or value != defaults[name]}


def architectures():
    """Returns a row for each architecture, and how many were left out for which reason."""
    rows, left_out = {}, collections.defaultdict(list)
    for name in timm.list_models():
        if model_entrypoint(name).__module__ not in MODULES:
            continue
        try:
            with torch.device("meta"):
                model = timm.create_model(name)
            found, image_size, forms = options(model)
        except (NotOursError, UserError) as error:
            left_out[str(error).split(";")[0][:60]].append(name)
            continue
        row = {"class": type(model).__name__} if type(model).__name__ != "VisionTransformer" else {}
        row |= {"forms": forms} if forms else {}
        rows[name] = {**differing(found), "image_size": list(image_size)} | row
    return rows, left_out


def tags(names):
    """Returns a row for each published set of weights of these architectures."""
    for tagged in timm.list_pretrained():
        if tagged.partition(".")[0] not in names:
            continue
        cfg = get_pretrained_cfg(tagged)
        yield {
            "name": tagged,
            "image_size": "x".join(map(str, cfg.input_size[1:])),
            "classes": cfg.num_classes,
            "mean": " ".join(map(str, cfg.mean)),
            "std": " ".join(map(str, cfg.std)),
            "crop_ratio": cfg.crop_pct,
            "crop_mode": cfg.crop_mode,
            "interpolation": cfg.interpolation,
            "license": cfg.license or "",
        }


def main():
    """Writes both files."""
    rows, left_out = architectures()
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    (FOLDER / "timm_architectures.json").write_text("{\n" + lines + "\n}\n")
    published = list(tags(rows))
    with (FOLDER / "timm.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, published[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(published)
    print(f"{reference.version()}: {len(rows)} architectures, {len(published)} sets of weights; left out:")
    for reason, names in sorted(left_out.items(), key=lambda item: -len(item[1])):
        print(f"{len(names):4}  {reason}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}")


if __name__ == "__main__":
    main()
