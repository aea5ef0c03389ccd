"""Which of transformers' classes reads a checkpoint, and which one computes as a model of ours does."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models.vit import Vit
from vit_jax.weights import norms
from vit_jax.weights.huggingface.families import Class, Family
from vit_jax.weights.rename import Arrays

BOTH = "class_token_and_mean"


def of(family: Family, head: str, arrays: Arrays) -> Class:
    """Returns the class that reads a file with such a `head`.

    Raises:
      UserError: none of the family has it.
    """
    kinds = [kind for kind in family.classes if kind.head == head]
    if not kinds:
        raise UserError(f'this family of checkpoints has no "{head}"; is the config.json of another one?')
    pool = "map" if "head.probe" in arrays else "mean"
    return next((kind for kind in kinds if kind.pool == pool), kinds[0])


def built(options: Mapping[str, Any]) -> Vit:
    """Returns the model of these options; raises UserError if it is a ResNet."""
    model = models.build(**options)
    if not isinstance(model, Vit):
        raise UserError("it is a Vision Transformer, and the model a ResNet")
    return model


def fitted(
    family: Family, options: Mapping[str, Any], ours: Arrays
) -> tuple[Class, dict[str, Any], dict[str, np.ndarray]]:
    """Returns the class of the family that a model becomes, and the model as it holds it: the same function.

    Class tokens without positions get some of zeros. The last norm of a class token stands where the class has it. A
    head that reads the class token, or the mean, reads both where the class does, one of them times zero.

    Args:
      family: of the class.
      options: of `models.build`.
      ours: our names to arrays.

    Raises:
      UserError: no class of the family has this pool, norm and head.
    """
    model = built(options)
    made, head = model.architecture, bool(model.classes)
    if made.positions == "learned_patches":
        options = {**options, "positions": "learned"}
        if made.summaries:
            ours = {**ours, "positions/prefix": np.zeros((len(made.summaries), model.size.width), np.float32)}
    for kind in (kind for kind in family.classes if bool(kind.head) == head):
        options, ours = norms.moved(options, ours, kind.norm_last)
        if kind.norm_last != options.get("norm_last", "tokens"):
            continue
        if kind.pool == made.pool:
            return kind, dict(options), dict(ours)
        if kind.pool == BOTH and made.pool in ("class_token", "mean"):
            kernel = ours["head/kernel"]
            halves = [kernel, np.zeros_like(kernel)]
            both = np.concatenate(halves if made.pool == "class_token" else halves[::-1])
            return kind, {**options, "pool": BOTH}, {**ours, "head/kernel": both}
    raise UserError(
        f"none of its classes ({', '.join(kind.name for kind in family.classes)}) has "
        f'{"a head on" if head else "the features of"} pool "{made.pool}" with norm_last "{made.norm_last}"'
    )


def refuse_differences(model: Vit, understood: Vit) -> None:
    """Raises UserError if what a file's readers understand of its model is not the model itself."""
    wanted, found = _choices(model), _choices(understood)
    unlike = [f"{name} {wanted[name]} would be {found[name]}" for name in wanted if wanted[name] != found[name]]
    if unlike:
        raise UserError(f"there {', '.join(unlike)}")


def _choices(model: Vit) -> dict[str, Any]:
    choices = dataclasses.asdict(model.architecture)
    for name in ("class_token", "standardization", "stem_norm_epsilon"):
        del choices[name]
    return choices | {"layer_scale": bool(choices["layer_scale"]), "tokens": model.architecture.summaries}
