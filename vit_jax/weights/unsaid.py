"""What a file without a config leaves unsaid: whoever has its arrays alone must still build the same model."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models.sizes import Size
from vit_jax.models.vit import Vit

log = logging.getLogger(__name__)

NUMERICS = ("activation", "norm_epsilon", "standardization", "stem_norm_epsilon")
ARRAYS_SAY = ("class_token", "distillation_token", "layer_scale", "positions")  # or the table of rows refuses them


def check(model: Mapping[str, Any], understood: Mapping[str, Any], format: str) -> None:
    """Refuses what others would read as another model; says what they would compute with other numbers.

    Our own recipe lies in the notes of a file that we write, so that nothing is lost to ourselves.

    Args:
      model: options of `models.build`: the model of the weights.
      understood: those that the names of the arrays and the habits of the format tell.
      format: its name.

    Raises:
      UserError: parts of the model that no array shows.
    """
    mine, theirs = _choices(model), _choices(understood)
    unlike = {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}
    hidden = {name: values for name, values in unlike.items() if name not in NUMERICS}
    if hidden:
        listed = ", ".join(f"{name}={value} (read as {read})" for name, (value, read) in hidden.items())
        raise UserError(f"{format} files cannot say {listed}; choose another format to write")
    if unlike:
        listed = ", ".join(f"{name}={read}, not {value}" for name, (value, read) in unlike.items())
        log.warning("%s files cannot say it, and others will compute with %s", format, listed)


def _choices(options: Mapping[str, Any]) -> dict[str, Any]:
    model = models.build(**options)
    assert isinstance(model, Vit) and isinstance(model.size, Size)
    choices = {name: value for name, value in dataclasses.asdict(model.architecture).items() if name not in ARRAYS_SAY}
    choices["tokens"] = " and ".join(model.architecture.summaries) or "none"
    choices["positions"] = model.architecture.positions.removesuffix("_patches")
    if not model.size.stem:
        del choices["standardization"], choices["stem_norm_epsilon"]
    return choices
