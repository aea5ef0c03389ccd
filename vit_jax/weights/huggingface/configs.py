"""Between the config.json of a transformers' checkpoint and the options of our models."""

from collections.abc import Mapping
from typing import Any

from vit_jax.errors import UserError, check_kind, pick
from vit_jax.models.attention import BIASES
from vit_jax.models.sizes import Size
from vit_jax.models.vit import Vit
from vit_jax.weights import facts
from vit_jax.weights.huggingface.families import ACTIVATIONS, Class, Family
from vit_jax.weights.rename import Arrays

NUMBERS = {"hidden_size": "width", "num_hidden_layers": "depth", "intermediate_size": "mlp_hidden"}
HIDDEN_ACTS = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}


def settings(config: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Returns what the config says of the vision model, or what the library takes for granted.

    Raises:
      UserError: a value of another kind, or something that no model here computes.
    """
    inner = _of_vision(config, family)
    found = {key: inner.get(key, default) for key, default in family.defaults.items()}
    for key, default in family.defaults.items():
        if default is not None and key not in ("image_size", "patch_size"):
            check_kind(f"{key} of config.json", found[key], type(default))
    pair(found["image_size"])
    if found.get("rope_theta", 100.0) != 100.0:
        raise UserError(f"rotary positions turn from rope_theta 100 here; got {found['rope_theta']}")
    if found.get("pooler_act", "tanh") != "tanh":
        raise UserError(f'a pooler ends in tanh here; got pooler_act "{found["pooler_act"]}"')
    return found


def _of_vision(config: Mapping[str, Any], family: Family) -> Mapping[str, Any]:
    inner = config.get("vision_config") if config["model_type"] == family.wrapper else config
    return inner if isinstance(inner, Mapping) else {}


def refuse_another(config: Mapping[str, Any], family: Family, size: Size) -> None:
    """Raises UserError if the numbers in a config are not those of the arrays: then its heads are not theirs either."""
    inner, numbers = _of_vision(config, family), {name: getattr(size, ours) for name, ours in NUMBERS.items()}
    unlike = [f"{key} {inner[key]}, the arrays {came}" for key, came in numbers.items() if inner.get(key, came) != came]
    if unlike:
        raise UserError(f"config.json is that of another model: it says {'; '.join(unlike)}")


def is_gated(settings: Mapping[str, Any]) -> bool:
    """Returns whether the MLPs have a gate."""
    return bool(settings.get("use_swiglu_ffn") or settings.get("use_gated_mlp"))


def model_options(settings: Mapping[str, Any], family: Family, kind: Class, ours: Arrays) -> dict[str, Any]:
    """Returns the options of `models.build` that a config and the arrays, under our names, tell."""
    options = {**facts.model_options(ours), **family.made}
    # DINOv2's gated MLP has SiLU whatever the config says.
    activation = "silu" if settings.get("use_swiglu_ffn") else pick(ACTIVATIONS, settings["hidden_act"], "hidden_act")
    options |= {"pool": kind.pool, "activation": activation, "norm_epsilon": settings["layer_norm_eps"]}
    if kind.norm_last != "tokens":
        options["norm_last"] = kind.norm_last
    if kind.pool == "mean":
        options["class_token"] = "class_token" in ours
    return options


def pair(size: Any) -> tuple[int, int]:
    """Returns (height, width) of a size that a config gives as one number or as two; raises UserError for another."""
    sides = (size, size) if isinstance(size, int) else size
    if not isinstance(sides, list | tuple) or [type(side) for side in sides] != [int, int] or min(sides) < 1:
        raise UserError(f"image_size of config.json is a number of pixels, or [height, width]; got {size!r}")
    return sides[0], sides[1]


def covered(image_size: Any, stride: tuple[int, int]) -> tuple[int, int]:
    """Returns the part (height, width) of images that whole patches cover: 14 pixels fit 27 times into SigLIP's 384."""
    (height, width), (down, across) = pair(image_size), stride
    return height // down * down, width // across * across


def class_names(config: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    """Returns the names of the classes, unless they are the library's own LABEL_0, LABEL_1, …"""
    labels = config.get("id2label") or {}
    if not isinstance(labels, Mapping) or not all(str(key).isdecimal() for key in labels):
        raise UserError("id2label of config.json has a name for each number of a class; correct it, or take it out")
    names = tuple(str(name) for _, name in sorted((int(key), name) for key, name in labels.items()))
    return names if len(names) == classes and names != _unnamed(classes) else ()


def _unnamed(classes: int) -> tuple[str, ...]:
    return tuple(f"LABEL_{index}" for index in range(classes))


def written(
    model: Vit, image_size: Any, family_name: str, family: Family, kind: Class, names: tuple[str, ...]
) -> dict[str, Any]:
    """Returns the config.json of `model` as one of the classes of a family.

    Raises:
      UserError: numbers for which the config has no words.
    """
    size, made = model.size, model.architecture
    height, width = pair(image_size)
    biased = BIASES[made.attention_bias]
    together = {"qkv", "none"} if "qkv_bias" in family.defaults else {"qkv"}
    if "key_bias" not in family.defaults and made.attention_bias not in together:
        raise UserError(f"its attention has biases {' or '.join(sorted(together))}, and this one {made.attention_bias}")
    values = {
        "hidden_size": size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
        "intermediate_size": size.mlp_hidden,
        "hidden_act": HIDDEN_ACTS[made.activation],
        "layer_norm_eps": made.norm_epsilon,
        "image_size": height if height == width else [height, width],
        "patch_size": size.patch[0] if size.patch[0] == size.patch[1] else list(size.patch),
        "num_channels": 3,
        "qkv_bias": bool(biased),
        "query_bias": "query" in biased,
        "key_bias": "key" in biased,
        "value_bias": "value" in biased,
        "use_swiglu_ffn": made.mlp == "swiglu",
        "use_gated_mlp": made.mlp == "swiglu",
        "num_register_tokens": made.registers,
        "rope_theta": 100.0,
        "pooler_output_size": made.pre_logits or size.width,
        "pooler_act": "tanh",
        "projection_dim": model.classes,
        "vision_use_head": made.pool == "map",
    }
    if "mlp_ratio" in family.defaults:
        values["mlp_ratio"] = _mlp_ratio(size.width, size.mlp_hidden, made.mlp == "swiglu")
    if family.square and made.positions != "none" and height != width:
        raise UserError(f"its positions are read as a square, and the images are {height}x{width}")
    config = {"model_type": family_name, **{key: values[key] for key in family.defaults}}
    if kind.head.endswith("classifier"):
        names = names or _unnamed(model.classes)
        labels = {str(index): name for index, name in enumerate(names)}
        if family.wrapper:
            config = {"model_type": family.wrapper, "vision_config": config}
        config |= {"id2label": labels, "label2id": {name: index for index, name in enumerate(names)}}
    return config | {"architectures": [kind.name]}


def _mlp_ratio(width: int, hidden: int, gated: bool) -> int:
    """Returns the ratio that DINOv2's config makes `hidden` of: two thirds in a gated MLP, up to a multiple of 8."""
    for ratio in range(1, 33):
        if (ratio * width if not gated else (int(ratio * width * 2 / 3) + 7) // 8 * 8) == hidden:
            return ratio
    raise UserError(f"its MLPs are a whole number of times as wide as the tokens; got {hidden} for {width}")
