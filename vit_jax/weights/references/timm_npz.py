"""timm, run on Google's and big_vision's `.npz` files: it reads both with code of its own."""

import importlib
import math
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from vit_jax.weights.references.timm import timm, version, watched

__all__ = ["activations", "version"]  # the version is timm's

PREFIXES = [f"{state}{tower}" for state in ("", "params/", "opt/target/") for tower in ("", "img/")]
STEM = ("conv_root/kernel", "/conv1/kernel", "/conv2/kernel", "/conv3/kernel", "/conv_proj/kernel")
STEM_NORM_EPSILON = 1e-6  # Linen's, of group norms too; timm adds ten times as much


def activations(place: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the tokens after each block, and the logits, in float64; see `references.activations`.

    timm has left out the dense layer before the head: it is added here. It does not know fixed positions, and resizes
    a table in another way than Google's programs, but for FlexiViT's; it standardises the kernels of a hybrid by
    another formula. Tables and kernels are made here, as those programs make them.
    """
    torch = importlib.import_module("torch")
    with np.load(place) as file:
        arrays: dict[str, Any] = {name: _float32(file[name]) for name in file.files}
    prefix = next(each for each in PREFIXES if f"{each}embedding/kernel" in arrays)
    named = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    model = _model(named, images.shape[1:3])
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        readable = os.path.join(folder, os.path.basename(place))
        if not os.path.basename(place).startswith("flexivit"):
            arrays |= {f"{prefix}{name}": table for name, table in _positions(named, model).items()}
        arrays |= {name: _standardized(array) for name, array in arrays.items() if name.endswith(STEM)}
        np.savez(readable, **arrays)
        model.load_pretrained(readable, prefix)

    found = watched(model)
    with torch.no_grad():
        pixels = torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2)
        features = model.forward_head(model.forward_features(pixels), pre_logits=True)
        if "pre_logits/kernel" in named:
            kernel, bias = (torch.from_numpy(named[f"pre_logits/{leaf}"]).double() for leaf in ("kernel", "bias"))
            features = torch.tanh(features @ kernel + bias)
        found["logits"] = model.head(features)
    return {name: tensor.numpy() for name, tensor in found.items()}


def _model(named: Mapping[str, np.ndarray], image_size: tuple[int, int]) -> Any:
    """Returns timm's model of the sizes that the arrays have, in float64."""
    torch, models = importlib.import_module("torch"), timm().models.vision_transformer
    scanned = "Transformer/encoderblock/LayerNorm_0/scale"
    block = "Transformer/encoderblock" + ("" if scanned in named else "_0")
    query = next(array for name, array in named.items() if name.startswith(block) and name.endswith("/query/kernel"))
    hidden = next(array for name, array in named.items() if name.startswith(block) and name.endswith("/Dense_0/bias"))
    height, width = named["embedding/kernel"].shape[:2]
    pool = "map" if "MAPHead_0/probe" in named else "token" if "cls" in named else "avg"
    features = named["pre_logits/bias"].shape[0] if "pre_logits/bias" in named else query.shape[-3]
    model = models.VisionTransformer(
        img_size=image_size,
        patch_size=(height, width),
        num_classes=len(named["head/bias"]) if "head/bias" in named else 0,
        global_pool=pool,
        embed_dim=query.shape[-3],
        depth=len(named[scanned])
        if scanned in named
        else sum(name.endswith("/LayerNorm_0/scale") for name in named if "encoderblock" in name),
        num_heads=query.shape[-2],
        mlp_ratio=hidden.shape[-1] / query.shape[-3],
        class_token="cls" in named,
        no_embed_class="Transformer/posembed_input/pos_embedding" not in named,
        fc_norm=False,
        embed_layer=_hybrid(named) if "conv_root/kernel" in named else models.PatchEmbed,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        act_layer=partial(torch.nn.GELU, approximate="tanh"),
    )
    if features != query.shape[-3] and model.num_classes:
        model.head = torch.nn.Linear(features, model.num_classes)
    return model.double().eval()


def _hybrid(named: Mapping[str, np.ndarray]) -> Any:
    """Returns what makes timm's patch embedding on a ResNet."""
    layers, resnet = timm().layers, timm().models.resnetv2
    conv = partial(layers.Conv2dSame, bias=False)
    width = named["conv_root/kernel"].shape[-1]
    stages = [name.split("/")[0] for name in named if name.endswith("/conv1/kernel")]
    units = tuple(stages.count(f"block{stage}") for stage in range(1, 1 + len(set(stages))))
    if not units:
        stem = resnet.create_resnetv2_stem(3, width, "same", preact=False, conv_layer=conv)
    else:
        channels = tuple(4 * width * 2**stage for stage in range(len(units)))
        options = {"num_classes": 0, "global_pool": "", "preact": False, "stem_type": "same", "stem_chs": width}
        stem = resnet.ResNetV2(units, channels, conv_layer=conv, **options)
    for layer in stem.modules():
        if isinstance(layer, layers.GroupNormAct):
            layer.eps = STEM_NORM_EPSILON
    return partial(layers.HybridEmbed, backbone=stem)


def _positions(named: Mapping[str, np.ndarray], model: Any) -> dict[str, np.ndarray]:
    """Returns the table of positions for the model's images, where it is not the file's, under its name there."""
    rows, columns = model.patch_embed.grid_size
    name = next((each for each in named if each.endswith("pos_embedding")), None)
    if name is None:
        return {"pos_embedding": _sincos2d(rows, columns, model.embed_dim)}
    table = named[name][0]
    if len(table) == model.pos_embed.shape[1]:
        return {}
    side = math.isqrt(len(table))
    prefix = len(table) - side**2
    zoom = importlib.import_module("scipy.ndimage").zoom  # Google's and big_vision's own: checkpoint.py, models/vit.py
    grid = table[prefix:].reshape(side, side, -1)
    resized = zoom(grid, (rows / side, columns / side, 1), order=1).reshape(rows * columns, -1)
    return {name: np.concatenate([table[:prefix], resized])[None]}


def _float32(array: np.ndarray) -> np.ndarray:
    """Returns an array whose bfloat16 NumPy did not know: they are the upper halves of float32."""
    if array.dtype.kind != "V":
        return array
    return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _standardized(kernel: np.ndarray) -> np.ndarray:
    """Returns what google-research/vision_transformer convolves by: models_resnet.py, `weight_standardize`."""
    kernel = kernel - kernel.mean((0, 1, 2), np.float64)
    return kernel / (kernel.std((0, 1, 2)) + 1e-5)


def _sincos2d(rows: int, columns: int, width: int) -> np.ndarray:
    """Returns the fixed positions (1, tokens, width) as big_vision's `posemb_sincos_2d` computes them."""
    y, x = np.mgrid[:rows, :columns].reshape(2, -1, 1)
    frequencies = 1 / 10_000 ** (np.arange(width // 4) / (width // 4 - 1))
    waves = [np.sin(x * frequencies), np.cos(x * frequencies), np.sin(y * frequencies), np.cos(y * frequencies)]
    return np.concatenate(waves, axis=1)[None]
