"""A config with all its parts and few numbers: small enough to be built, sharded and stepped in seconds."""

import json
from typing import Any

from vit_jax.models.sizes import ResNetSize, Size, by_name, by_numbers, numbers_of
from vit_jax.train.config import Config

# Numbers that make one experiment better than another, but no different in kind: what each is set to, unless it is 0.
NUMBERS = {
    "peak_learning_rate": 1e-3,
    "weight_decay": 0.01,
    "mixup": 0.2,
    "dropout": 0.1,
    "stochastic_depth": 0.1,
    "magnitude": 10,
    "head_bias": -1.0,
    "pre_logits": 8,
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
}


def reduced(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the config of `fields` with a tiny model, tiny images, eight digits a batch and four steps.

    What makes it an experiment of its own kind stays: layers, losses, rules, schedules, augmentation.
    """
    fields = {name: _numbered(value) for name, value in json.loads(json.dumps(fields)).items()}
    size = fields["model"]["size"]
    size = _small(by_name(size) if isinstance(size, str) else by_numbers(size, "size"))
    side = 2 * max(size.stride)
    fields |= {"steps": 4, "batch_size": 8 * fields["accumulate"], "image_size": (side, side), "threads": 0}
    fields |= {"source": {"kind": "digits"}, "mesh": {"data": 8}, "seed": 0}
    fields["train"] |= {"split": "train"}
    fields["evaluate"] |= {"split": "val", "batch_size": 200, "every": 0}
    fields["model"] |= {"size": numbers_of(size)}
    fields["weights"] |= {"path": ""}
    schedule = fields["optimizer"]["schedule"]
    schedule |= {key: 1 for key in ("warmup_steps", "cooldown_steps") if key in schedule}
    return fields | {"checkpoint": {"every": 1}, "log": {}, "profile": {}}


def built(fields: dict[str, Any]) -> Config:
    """Returns a reduced config, which may come from JSON."""
    ranges = {name: tuple(value) for name, value in fields["value_range"].items()}
    return Config(**fields | {"image_size": tuple(fields["image_size"]), "value_range": ranges})


def _numbered(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: NUMBERS[name] if name in NUMBERS and each else _numbered(each) for name, each in value.items()}


def _small(size: Size | ResNetSize) -> Size | ResNetSize:
    if isinstance(size, ResNetSize):
        return ResNetSize((1,) * len(size.units), 32)
    stem = size.stem and ResNetSize((1,) * len(size.stem.units), 32)
    patch = size.patch if stem else (4, 4)
    return Size(width=16, depth=1, mlp_hidden=24, heads=2, patch=patch, stem=stem)
