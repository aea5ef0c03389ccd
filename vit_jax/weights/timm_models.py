"""What timm's code says of each of its Vision Transformers: the files beside it that make_timm_models.py made."""

import csv
import dataclasses
import difflib
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_jax.errors import UserError
from vit_jax.models.architecture import Architecture
from vit_jax.weights.timm_rows import PACKED

PUBLISHED = Path(__file__).parent / "published"

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


@dataclasses.dataclass(frozen=True)
class Model:
    """One of timm's architectures.

    Attributes:
      name: of its entry point.
      options: of `models.build`, less the classes.
      image_size: (height, width) in pixels.
      forms: those of its arrays, words of timm_rows.
      kind: its class, a name in ARGUMENTS.
    """

    name: str
    options: dict[str, Any]
    image_size: tuple[int, int]
    forms: tuple[str, ...] = ()
    kind: str = "VisionTransformer"

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any] | None:
        """Returns the arguments that make the entry point's model that of `options`; None if there are none."""
        found, own, wanted = self._numbers(options), parts(self.options), parts(options)
        if found is None:
            return None
        differing = {name for name in wanted if wanted[name] != own[name]}
        if differing & {"pool", "class_token"} and "norm_last" in ARGUMENTS[self.kind]:
            differing.add("norm_last")  # whose default goes by the pool
        if wanted["registers"] and wanted["class_token"] and wanted["positions"] == "learned":
            return None  # which have positions there
        if wanted["norm_embedded"] == wanted["patch_bias"]:
            return None
        for name in sorted(differing - {"patch_bias"}):  # which goes by norm_embedded
            argument, values = ARGUMENTS[self.kind].get(name, ("", {}))
            if not argument or (values and wanted[name] not in values):
                return None
            found[argument] = values[wanted[name]] if values else wanted[name]
        if self.kind == "VisionTransformer" and "registers" in differing:
            found["no_embed_class"] = True
        return found

    def _numbers(self, options: Mapping[str, Any]) -> dict[str, Any] | None:
        own, wanted = self.options["size"], options["size"]
        if own.get("stem") != wanted.get("stem"):
            return None
        found = {NUMBERS[name]: wanted[name] for name in NUMBERS if own[name] != wanted[name]}
        if (own["width"], own["mlp_hidden"]) != (wanted["width"], wanted["mlp_hidden"]):
            doubled = 2 if PACKED in self.forms and self.kind == "VisionTransformer" else 1
            found["mlp_ratio"] = ratio(wanted["width"], doubled * wanted["mlp_hidden"])
        return found


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
    found = [(model, args) for model in architectures().values() if (args := model.arguments(options)) is not None]
    if not found:
        unusual = parts(options)
        raise UserError(
            f"no architecture of timm's computes with norm_epsilon {unusual['norm_epsilon']}, mlp "
            f'"{unusual["mlp"]}", rotary "{unusual["rotary"]}", pool "{unusual["pool"]}" and the rest of these options '
            "together; choose another format to write"
        )
    return min(
        found,
        key=lambda one: (
            len(one[1]),
            one[0].image_size != tuple(image_size),
            not one[0].name.startswith("vit_"),
            len(one[0].name),
        ),
    )


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
