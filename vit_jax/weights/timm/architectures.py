"""What timm's code says of each of its Vision Transformers: the files beside it that make_timm_models.py made."""

import csv
import dataclasses
import difflib
import functools
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from vit_jax.errors import UserError
from vit_jax.models.architecture import Architecture
from vit_jax.weights.timm.rows import PACKED

PUBLISHED = Path(__file__).parents[1] / "published"

POOLS = {"class_token": "token", "mean": "avg", "map": "map", "none": ""}
ACTIVATIONS = {"gelu_exact": "gelu", "gelu_tanh": "gelu_tanh", "gelu_quick": "quick_gelu", "silu": "silu"}
NORMS = {"tokens": False, "features": True}
NUMBERS = {"width": "embed_dim", "depth": "depth", "heads": "num_heads", "patch": "patch_size"}

# For each of timm's classes: our option, the argument of the class that sets it, and its values by ours. An option
# without a line is what the entry point makes it.
Arguments = Mapping[str, tuple[str, Mapping[Any, Any]]]
ARGUMENTS: dict[str, Arguments] = {
    "VisionTransformer": {
        "pool": ("global_pool", POOLS),
        "class_token": ("class_token", {True: True, False: False}),
        "registers": ("reg_tokens", {}),
        "positions": ("no_embed_class", {"learned": False, "learned_patches": True}),
        "norm_embedded": ("pre_norm", {True: True, False: False}),
        "norm_last": ("fc_norm", NORMS),
        "activation": ("act_layer", ACTIVATIONS),
        "layer_scale": ("init_values", {True: 1e-5, False: None}),
        "attention_bias": ("qkv_bias", {"qkv": True, "none": False}),
        "qk_norm": ("qk_norm", {True: True, False: False}),
    },
    "VisionTransformerDistilled": {"activation": ("act_layer", ACTIVATIONS)},
    "Eva": {
        "pool": ("global_pool", {"class_token": "token", "mean": "avg", "none": ""}),
        "class_token": ("class_token", {True: True, False: False}),
        "registers": ("num_reg_tokens", {}),
        "norm_last": ("use_fc_norm", NORMS),
        "layer_scale": ("init_values", {True: 1e-5, False: None}),
        "attention_bias": ("qkv_bias", {"qv": True, "none": False}),
    },
}
ALIGNED = 8  # the hidden layers of DINOv3's SwiGLU are rounded up to a multiple of that, in timm

# An option that the arrays tell, and the arguments that change it from what the architecture says.
CHANGED_BY = {
    "width": {"embed_dim"},
    "depth": {"depth"},
    "mlp_hidden": {"mlp_ratio", "embed_dim"},
    "norm_embedded": {"pre_norm"},
    "patch_bias": {"pre_norm"},
    "layer_scale": {"init_values"},
    "registers": {"reg_tokens", "num_reg_tokens"},
    "class_token": {"class_token"},
    "distillation_token": set(),
    "positions": {"no_embed_class", "class_token"},
    "attention_bias": {"qkv_bias"},
    "qk_norm": {"qk_norm"},
    "mlp": set(),
    "norm_last": {"fc_norm", "use_fc_norm", "global_pool"},
}


@dataclasses.dataclass(frozen=True)
class Model:
    """One of timm's architectures.

    Attributes:
      name: of its entry point.
      options: of `models.build`, less the classes.
      image_size: (height, width) in pixels.
      forms: those of its arrays, words of rows.
      kind: its class, a name in ARGUMENTS.
    """

    name: str
    options: dict[str, Any]
    image_size: tuple[int, int]
    forms: tuple[str, ...] = ()
    kind: str = "VisionTransformer"

    def arguments(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Returns the arguments that make the entry point's model that of `options`, and the options that none sets."""
        found, unset = self._numbers(options)
        own, wanted = parts(self.options), parts(options)
        differing = {name for name in wanted if wanted[name] != own[name]}
        if differing & {"pool", "class_token"} and "norm_last" in ARGUMENTS[self.kind]:
            differing.add("norm_last")  # whose default goes by the pool
        if wanted["patch_bias"] != wanted["norm_embedded"]:
            differing.discard("patch_bias")  # which goes by the other
        for name in sorted(differing):
            argument, values = ARGUMENTS[self.kind].get(name, ("", {}))
            if argument and (not values or wanted[name] in values):
                found[argument] = values[wanted[name]] if values else wanted[name]
            else:
                unset.append(name)
        if wanted["registers"] and wanted["class_token"] and wanted["positions"] == "learned":
            unset.append("positions")  # which registers have too, there, if class tokens have
        elif wanted["registers"] and wanted["positions"] != "none" and "registers" in differing:
            found["no_embed_class"] = True
        return found, unset

    def _numbers(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        own, wanted = self.options["size"], options["size"]
        found = {NUMBERS[name]: wanted[name] for name in NUMBERS if own[name] != wanted[name]}
        if "patch_size" in found and len({*wanted["patch"]}) == 1:
            found["patch_size"] = wanted["patch"][0]
        if (own["width"], own["mlp_hidden"]) != (wanted["width"], wanted["mlp_hidden"]):
            doubled = 2 if PACKED in self.forms and self.kind == "VisionTransformer" else 1
            found["mlp_ratio"] = ratio(wanted["width"], doubled * wanted["mlp_hidden"])
        unset = ["stem"] if own.get("stem") != wanted.get("stem") else []
        if "mlp_ratio" in found and self.options.get("mlp") == "swiglu" and PACKED not in self.forms:
            unset += ["mlp"] if wanted["mlp_hidden"] % ALIGNED else []
        return found, unset


def misfits(model: Model, options: Mapping[str, Any], changed: Collection[str] = ()) -> list[str]:
    """Returns, in words, where `options`, read off arrays, are not the architecture's, nor `changed` by an argument."""
    came, wanted = ({**made["size"], **parts(made)} for made in (options, model.options))
    return [
        f"{name} came {came[name]!r}, wanted {wanted[name]!r}"
        for name, arguments in CHANGED_BY.items()
        if came[name] != wanted[name] and not arguments & set(changed)
    ]


def ratio(width: int, hidden: int) -> float:
    """Returns the number that makes `hidden` of `width` once it is multiplied and cut to a whole number.

    >>> int(49 * (7 / 49)), int(49 * ratio(49, 7)), int(24 * ratio(24, 41))
    (7, 7, 41)
    """
    exact = hidden / width
    return exact if int(width * exact) == hidden else (hidden + 0.5) / width


def parts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the whole architecture that some options of `models.build` make, so that two can be compared."""
    fields = {field.name for field in dataclasses.fields(Architecture)}
    made = Architecture(**{name: value for name, value in options.items() if name in fields})
    whole = dataclasses.asdict(made)
    return whole | {"class_token": "class_token" in made.summaries, "layer_scale": bool(made.layer_scale)}


@functools.cache
def architectures() -> dict[str, Model]:
    """Returns timm's architectures that this package expresses, by name."""
    rows = json.loads((PUBLISHED / "timm_architectures.json").read_text())
    models = {}
    for name, row in rows.items():
        options = {key: value for key, value in row.items() if key not in ("image_size", "forms", "class")}
        size, forms = tuple(row["image_size"]), tuple(row.get("forms", ()))
        models[name] = Model(name, options, size, forms, row.get("class", "VisionTransformer"))
    return models


@functools.cache
def tags() -> list[dict[str, str]]:
    """Returns a row for each published set of weights of those architectures; its `name` is timm's."""
    with (PUBLISHED / "timm.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def named(name: str) -> Model:
    """Returns the architecture of that name; raises UserError for what is none of those."""
    found = architectures().get(name)
    if found is None:
        near = difflib.get_close_matches(name, architectures(), n=1)
        raise UserError(
            f'"{name}" is none of the {len(architectures())} architectures of timm that are expressed here'
            + (f'; did you mean "{near[0]}"?' if near else "; choose weights of another")
        )
    return found


def closest(options: Mapping[str, Any], image_size: tuple[int, int]) -> tuple[Model, dict[str, Any]]:
    """Returns the architecture that makes the model of `options` with the fewest arguments, and those.

    Raises:
      UserError: none does.
    """

    def distance(model: Model) -> tuple[object, ...]:
        arguments, unset = model.arguments(options)
        elsewhere = model.image_size != tuple(image_size), not model.name.startswith("vit_")
        return len(unset), len(arguments), *elsewhere, len(model.name)

    model = min(architectures().values(), key=distance)
    arguments, unset = model.arguments(options)
    if unset:
        wanted, own = ({**parts(made), "stem": made["size"].get("stem")} for made in (options, model.options))
        odd = ", ".join(f"{name} {wanted[name]!r} (its nearest, {model.name}, has {own[name]!r})" for name in unset)
        raise UserError(f"timm has no architecture with {odd}; choose another format to write")
    return model, arguments


def is_projection(name: str, tag: str, classes: int) -> bool:
    """Returns whether the head of these published weights is CLIP's projection, to be compared with that of a text."""
    rows = [row for row in tags() if row["name"] == f"{name}.{tag}" and row["classes"] == str(classes)]
    return bool(rows) and "_clip_" in name and not re.search(r"in\d+k", tag)  # else fine-tuned on ImageNet's classes


def published(name: str, tag: str = "") -> dict[str, Any]:
    """Returns what timm says of the weights of that tag, or of the architecture's first, under its own keys."""
    rows = [row for row in tags() if row["name"].partition(".")[0] == name]
    row = next((row for row in rows if row["name"] == f"{name}.{tag}"), rows[0] if rows else None)
    if row is None:
        return {}
    height, width = map(int, row["image_size"].split("x"))
    return {
        "input_size": [3, height, width],
        "mean": [float(value) for value in row["mean"].split()],
        "std": [float(value) for value in row["std"].split()],
        "crop_pct": float(row["crop_ratio"]),
        "crop_mode": row["crop_mode"],
        "interpolation": row["interpolation"],
        "license": row["license"],
    }
