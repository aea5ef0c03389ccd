"""What the arrays of a Vision Transformer themselves tell about their model, whatever file they came from."""

from collections.abc import Mapping
from typing import Any

import einops

from vit_jax.errors import UserError
from vit_jax.models.sizes import ResNetSize, Size, numbers_of
from vit_jax.weights.rename import Arrays, units_of

UNITS = r"stem/stage(\d)/unit(\d{2})/.*"
LAYER_SCALE = 1e-5  # where DINOv2's factors started from, in training; where others' did, what they learned hides
BIASES = {("query", "key", "value"): "qkv", ("query", "value"): "qv", (): "none"}


def model_options(ours: Arrays) -> dict[str, Any]:
    """Returns the options of `models.build` that `ours` tell, as plain JSON values: the size, the parts that there are.

    What no array tells, a family says: activation, epsilons, rotary positions, and the pool where it is not the
    class token, the mean of the patches for want of one, or a pool with arrays of its own.

    Args:
      ours: our names, "/" between the levels, to arrays.

    Raises:
      UserError: arrays that no model of ours has.
    """
    block = "encoder/block00"
    tokens = {name: name in ours for name in ("class_token", "distillation_token")}
    options: dict[str, Any] = {"size": numbers_of(size(ours)), "classes": 0, "pool": _pool(ours)}
    if "head/kernel" in ours:
        options["classes"] = axes(ours, "head/kernel", "_ classes")["classes"]
    if not tokens["class_token"] or options["pool"] not in ("class_token", "distilled"):
        options["class_token"] = tokens["class_token"]
    if tokens["distillation_token"]:
        options["distillation_token"] = True
    if "registers" in ours:
        options["registers"] = axes(ours, "registers", "count _")["count"]
    has_prefix = "positions/prefix" in ours or not any(tokens.values())
    options["positions"] = ("learned" if has_prefix else "learned_patches") if "positions/grid" in ours else "none"
    if "patch_embedding/bias" not in ours:
        options["patch_bias"] = False
    if "norm_embedded/scale" in ours:
        options["norm_embedded"] = True
    if "encoder/norm/scale" not in ours:
        options["norm_last"] = "features"
    if "pre_logits/kernel" in ours:
        options["pre_logits"] = axes(ours, "pre_logits/kernel", "_ features")["features"]
    if f"{block}/mlp/gate/kernel" in ours:
        options["mlp"] = "swiglu_norm" if f"{block}/mlp/norm/scale" in ours else "swiglu"
    if f"{block}/scale_attention" in ours:
        options["layer_scale"] = LAYER_SCALE
    with_bias = tuple(name for name in ("query", "key", "value") if f"{block}/attention/{name}/bias" in ours)
    if with_bias not in BIASES:
        raise UserError(f"attention has biases of {', '.join(with_bias)} alone; is the file damaged?")
    if BIASES[with_bias] != "qkv":
        options["attention_bias"] = BIASES[with_bias]
    if f"{block}/attention/norm_query/scale" in ours:
        options["qk_norm"] = True
    return options


def size(ours: Arrays) -> Size:
    """Returns the numbers of the model."""
    patch = axes(ours, "patch_embedding/kernel", "height width _ features")
    query = axes(ours, "encoder/block00/attention/query/kernel", "width heads _")
    stem = None
    if "stem/root/kernel" in ours:
        stem = ResNetSize(units_of(ours, UNITS), axes(ours, "stem/root/kernel", "_ _ _ width")["width"])
    return Size(
        width=query["width"],
        depth=sum(name.endswith("/norm_mlp/scale") for name in ours),
        mlp_hidden=axes(ours, "encoder/block00/mlp/hidden/kernel", "_ hidden")["hidden"],
        heads=query["heads"],
        patch=(patch["height"], patch["width"]),
        stem=stem,
    )


def image_size(ours: Arrays) -> tuple[int, int]:
    """Returns the (height, width) in pixels of the images that the positions were learned on."""
    (rows, columns), (height, width) = ours["positions/grid"].shape[:2], size(ours).stride
    return rows * height, columns * width


def axes(arrays: Arrays, name: str, pattern: str) -> Mapping[str, int]:
    """Returns the lengths of an array's axes by the names that `pattern` gives them.

    Raises:
      UserError: no such array, or one with other axes.
    """
    if name not in arrays:
        raise UserError(f"{name} is missing; is the file complete?")
    try:
        return einops.parse_shape(arrays[name], pattern)
    except RuntimeError:
        raise UserError(
            f'{name} has shape {arrays[name].shape}, wanted the axes "{pattern}"; is the file damaged?'
        ) from None


def _pool(ours: Arrays) -> str:
    if "pool/probe" in ours:
        return "map"
    if "head_distillation/kernel" in ours:
        return "distilled"
    return "class_token" if "class_token" in ours else "mean"
