"""Hugging Face transformers' checkpoints: ViT, DeiT, DINOv2 and v3, MAE, and the vision towers of CLIP and SigLIP."""

import dataclasses
import logging
import re
from typing import Any

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax.errors import UserError
from vit_jax.weights import facts, positions
from vit_jax.weights.files import File
from vit_jax.weights.huggingface import classes, configs, families, preprocessors
from vit_jax.weights.huggingface.families import FAMILIES, Class, Family
from vit_jax.weights.huggingface.rows import HEADS, Rows
from vit_jax.weights.loaded import Loaded, as_published, odd_dtypes, refuse_other_kinds
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.rename import Arrays, to_ours, to_theirs

log = logging.getLogger(__name__)

Options = dict[str, Any]


def recognises(file: File) -> bool:
    """Returns whether a config of transformers' lies beside the weights."""
    return "model_type" in file.config


def load(file: File) -> Loaded:
    """Returns the weights in our layout with all that is known about them.

    What nothing here computes with is left aside: text towers, decoders, the tokens of pre-training.

    Raises:
      UserError: a model type that is not read here, a config that says what no model here does, names or shapes of
        another family.
    """
    _, family = families.of(file.config["model_type"])
    settings = configs.settings(file.config, family)
    prefix, arrays = _without_prefix(file.arrays, family.prefix)
    head = next(head for head in HEADS if not head or f"{head}.weight" in arrays)
    arrays = _without(arrays, r".*position_ids", "")  # a buffer, in files of transformers before 4.31
    arrays = _without(arrays, *family.aside)
    arrays = _without(arrays, *family.unread) if head == "classifier" else arrays
    refuse_other_kinds(arrays)
    kind = classes.of(family, head, arrays)

    sizes = {"heads": settings["num_attention_heads"], "two": 2, "three": 3}
    sizes |= {"classes": len(arrays[f"{head}.weight"])} if head else {}
    ours = to_ours(arrays, _rows(family, kind, configs.is_gated(settings)), sizes)
    configs.refuse_another(file.config, family, facts.size(ours))
    if "positions/table" in ours:
        positions.unfold(ours, configs.pair(settings["image_size"]))
    if "registers" in ours and not len(ours["registers"]):
        del ours["registers"]
    ours = {name: np.asarray(array, np.float32) for name, array in ours.items()}
    model = configs.model_options(settings, family, kind, ours)
    origin = {
        "format": "huggingface",
        "model_type": file.config["model_type"],
        "architectures": file.config.get("architectures") or [kind.name],
        "prefix": prefix,
        "image_size": settings["image_size"],
        "preprocessor": dict(file.preprocessor),
        "dtypes": odd_dtypes(arrays),
    }
    recipe = Recipe(
        model=model,
        image_size=configs.covered(settings["image_size"], facts.size(ours).stride),
        **preprocessors.read(file.preprocessor, family.preprocessor),
        loss="softmax" if head.endswith("classifier") else "",
        class_names=configs.class_names(file.config, model["classes"]),
        position_resize=family.position_resize,
        source=epath.Path(file.place).parent.name,
        license=_license(file.place),
        origin={key: value for key, value in origin.items() if value},
    )
    return Loaded(unflatten_dict(ours, sep="/"), recipe)


def save(loaded: Loaded) -> File:
    """Returns the folder that transformers would have written: the inverse of `load`, but for what was left aside.

    Weights of other families go to the first model type that computes alike.

    Raises:
      UserError: no model type does.
    """
    origin = loaded.recipe.origin if loaded.recipe.origin.get("format") == "huggingface" else {}
    own = families.of(origin["model_type"])[0] if origin else ""
    reasons = {}
    for name in sorted(FAMILIES, key=lambda name: name != own):
        try:
            return _written(loaded, name, origin if name == own else {})
        except UserError as error:
            reasons[name] = error
    nearest = own or _nearest(loaded.recipe.model)
    raise UserError(f"transformers has no model that computes as this one; {nearest} does not: {reasons[nearest]}")


def _nearest(options: Options) -> str:
    """Returns the family with most of what the model has beside the paper's: why even that one does not do is said."""
    alike = [name for name, family in FAMILIES.items() if family.made.items() <= options.items()]
    return max(alike, key=lambda name: len(FAMILIES[name].made))


def _written(loaded: Loaded, name: str, origin: Options) -> File:
    """Returns the file of the family `name`; raises UserError if it computes otherwise."""
    recipe, family = loaded.recipe, FAMILIES[name]
    ours = {name: np.asarray(array) for name, array in flatten_dict(loaded.parameters, sep="/").items()}
    kind, options, ours = classes.fitted(family, recipe.model, ours)
    model = classes.built(options)
    image_size = origin.get("image_size", recipe.image_size)
    unchanged = configs.covered(image_size, model.size.stride) == tuple(recipe.image_size)
    image_size = image_size if unchanged else recipe.image_size
    config = configs.written(model, image_size, name, family, kind, recipe.class_names)
    settings = configs.settings(config, family)
    understood = configs.model_options(settings, family, kind, ours)
    classes.refuse_differences(model, classes.built(understood))

    if "positions/grid" in ours:
        positions.fold(ours)
    if "num_register_tokens" in family.defaults:
        ours.setdefault("registers", np.zeros((0, model.size.width), np.float32))
    sizes = {"heads": model.size.heads, "two": 2, "three": 3, "width": model.size.width}
    arrays = to_theirs(ours, _rows(family, kind, configs.is_gated(settings)), sizes)
    arrays = as_published(arrays, origin)
    of_head = {row.theirs for row in HEADS[kind.head]}
    prefix = family.prefix if kind.head else origin.get("prefix", "")
    arrays = {name if name in of_head else f"{prefix}{name}": array for name, array in arrays.items()}
    dtypes = {str(array.dtype) for array in arrays.values()}
    config["dtype"] = dtypes.pop() if len(dtypes) == 1 else "float32"

    preprocessor = origin.get("preprocessor", {})
    asked = preprocessors.read(preprocessor, family.preprocessor)
    if not (preprocessor and unchanged and all(getattr(recipe, key) == value for key, value in asked.items())):
        preprocessor = preprocessors.written(recipe, family.preprocessor)
    written = dataclasses.replace(recipe, model=options)
    return File(arrays, config, preprocessor, {"recipe": dataclasses.asdict(written)})


def _rows(family: Family, kind: Class, gated: bool) -> Rows:
    return (*family.rows(gated), *kind.rows, *HEADS[kind.head])


def _without_prefix(arrays: Arrays, prefix: str) -> tuple[str, Arrays]:
    """Returns the prefix that the encoder's names have, if any, and the arrays without it."""
    if not prefix or not any(name.startswith(prefix) for name in arrays):
        return "", arrays
    return prefix, {name.removeprefix(prefix): array for name, array in arrays.items()}


def _without(arrays: Arrays, pattern: str, what: str) -> Arrays:
    """Returns the arrays whose names are not of `pattern`; says `what` the others are, if that is said."""
    gone = [name for name in arrays if re.fullmatch(pattern, name)]
    if gone and what:
        log.warning("%s (%d arrays) is left aside: no model here computes with it", what, len(gone))
    return {name: array for name, array in arrays.items() if name not in gone}


def _license(place: str) -> str:
    """Returns the license that the model card beside the weights names in its front matter."""
    card = epath.Path(place).parent / "README.md"
    front = re.split(r"---\r?\n", card.read_bytes().decode(errors="replace")) if place and card.exists() else []
    said = front[1] if len(front) > 2 and not front[0] else ""
    found = dict(re.findall(r"""^(license|license_name): *["']?([^\s"']+)""", said, re.MULTILINE))
    license = found.get("license", "")
    return found.get("license_name", license) if license == "other" else license
