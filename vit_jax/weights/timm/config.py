"""The `config.json` of timm's checkpoints, in the layout of its `save_for_hf` and of the files on its Hub."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vit_jax.errors import UserError, check_kind, pick
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.timm import architectures
from vit_jax.weights.timm.architectures import ACTIVATIONS, ARGUMENTS, POOLS, Model

# Arguments of timm's classes that the arrays tell, or that change nothing once a model is trained.
UNASKED = {
    *("in_chans", "num_classes", "img_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "patch_size", "qkv_bias"),
    *("qk_norm", "init_values", "class_token", "no_embed_class", "reg_tokens", "num_reg_tokens", "pre_norm", "fc_norm"),
    *("use_fc_norm", "dynamic_img_size", "strict_img_size", "weight_init", "fix_init", "head_init_scale"),
}
TOLD = ("pool", "activation", "norm_epsilon", "rotary")  # options of `models.build` that no array tells,
OF_STEM = ("standardization", "stem_norm_epsilon")  # and those of hybrids
KEPT = ("tag", "description", "origin_url", "paper_ids", "paper_name")  # written back as they were read
CROPS = {"center": "resize_crop", "squash": "squash"}


@dataclasses.dataclass(frozen=True)
class Described:
    """What a config says, or else the published weights of the tag that it names.

    Attributes:
      model: the architecture.
      heads: of the model.
      told: options of `models.build` that no array tells.
      classes: how many there are; None where it does not say.
      changed: the arguments that were given beside the architecture.
      image_size: (height, width) in pixels.
      recipe: the fields of a Recipe that the config decides.
      kept: what nothing here asks for.
    """

    model: Model
    heads: int
    told: Mapping[str, Any]
    classes: int | None
    changed: frozenset[str]
    image_size: tuple[int, int]
    recipe: Mapping[str, Any]
    kept: Mapping[str, Any]


def read(config: Mapping[str, Any]) -> Described:
    """Returns what `config` says.

    Raises:
      UserError: an architecture, or an argument of one, that is not expressed here.
    """
    try:
        name, _, tag = config["architecture"].partition(".")
        model = architectures.named(name)
        arguments = {key: value for key, value in config.get("model_args", {}).items() if value is not None}
        given = dict(config.get("pretrained_cfg", config))
        given = architectures.published(name, tag or given.get("tag", "")) | given
        given |= {"tag": tag} if tag else {}
        size = arguments.get("img_size") or given["input_size"][-2:]
        height, width = (size, size) if isinstance(size, int) else size
        heads = arguments.get("num_heads") or model.options["size"]["heads"]
        for name, number in (("img_size", height), ("img_size", width), ("num_heads", heads)):
            check_kind(f"{name} of config.json", number, int)
        return Described(
            model,
            heads,
            _told(model, arguments),
            config.get("num_classes", arguments.get("num_classes")),
            frozenset(config.get("model_args", {})),
            (height, width),
            {
                "mean": tuple(map(float, given["mean"])),
                "std": tuple(map(float, given["std"])),
                "preprocess": _preprocess(given),
                "class_names": _class_names(given | dict(config)),
                "license": given.get("license") or "",
            },
            {key: given[key] for key in KEPT if given.get(key)},
        )
    except UserError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"config.json is not as timm writes it ({error!r}); download it again") from None


def _told(model: Model, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that no array tells: the architecture's own, or as `arguments` change them."""
    unread = {name for name in arguments if not name.endswith("_rate")} - UNASKED - {"act_layer", "global_pool"}
    if unread:
        raise UserError(f"config.json has model_args that are not read here: {', '.join(sorted(unread))}")
    whole = architectures.parts(model.options)
    told = {name: whole[name] for name in (*TOLD, *(OF_STEM if "stem" in model.options["size"] else ()))}
    if "act_layer" in arguments:
        told["activation"] = pick({v: k for k, v in ACTIVATIONS.items()}, arguments["act_layer"], "act_layer")
    if "global_pool" in arguments and "pool" in ARGUMENTS[model.kind]:
        ours = {POOLS[pool]: pool for pool in ARGUMENTS[model.kind]["pool"][1]}
        told["pool"] = pick(ours, arguments["global_pool"], "global_pool")
    return told


def _preprocess(given: Mapping[str, Any]) -> dict[str, Any]:
    kind = pick(CROPS, given.get("crop_mode", "center"), "crop_mode")
    cut = {"crop_ratio": float(given["crop_pct"])} if kind == "resize_crop" else {}
    return {"kind": kind, **cut, "resample": given["interpolation"]}


def _class_names(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the descriptions of the labels, or their names: a list, or a dict from numbers to names."""
    labels, descriptions = given.get("label_names") or (), given.get("label_descriptions") or {}
    if isinstance(labels, Mapping):
        labels = [name for _, name in sorted(labels.items(), key=lambda item: int(item[0]))]
    return tuple(str(descriptions.get(name, name)) for name in labels)


def written(model: Model, arguments: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Returns the config that timm's `create_model("local-dir:…", pretrained=True)` reads strictly."""
    classes, size = recipe.model["classes"], recipe.model["size"]
    distilled, stem = recipe.model["pool"] == "distilled", "stem" in size
    root = ".stem.conv" if stem and size["stem"]["units"] else ".conv"
    crop_mode = pick({ours: theirs for theirs, ours in CROPS.items()}, recipe.preprocess["kind"], "preprocess for timm")
    cut = recipe.cut()
    return {
        "architecture": model.name,
        "num_classes": classes,
        "num_features": size["width"],
        "global_pool": "token" if distilled else POOLS[recipe.model["pool"]],
        **({"label_names": list(recipe.class_names)} if recipe.class_names else {}),
        "model_args": {**arguments, "img_size": list(recipe.image_size), "num_classes": classes},
        "pretrained_cfg": {
            **recipe.origin.get("kept", {}),
            "input_size": [3, *recipe.image_size],
            "fixed_input_size": True,
            "interpolation": cut["resample"],
            "crop_pct": cut["crop_ratio"],
            "crop_mode": crop_mode,
            "mean": list(recipe.mean),
            "std": list(recipe.std),
            "num_classes": classes,
            "first_conv": f"patch_embed.backbone{root}" if stem else "patch_embed.proj",
            "classifier": ["head", "head_dist"] if distilled else "head",
            **({"license": recipe.license} if recipe.license else {}),
        },
    }
