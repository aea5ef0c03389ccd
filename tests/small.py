"""A small experiment on built-in digits that trains in seconds."""

import tempfile
from pathlib import Path
from typing import Any

from vit_jax.train import loop
from vit_jax.train.config import Config

FIELDS: dict[str, Any] = {
    "seed": 0,
    "steps": 6,
    "batch_size": 16,
    "accumulate": 1,
    "image_size": (8, 8),
    "value_range": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    "source": {"kind": "digits"},
    "train": {"split": "train", "preprocess": {"kind": "pad_crop", "padding": 1}},
    "evaluate": {"split": "val", "preprocess": {"kind": "squash"}, "batch_size": 104, "every": 4},
    "model": {
        "size": {"width": 16, "depth": 1, "mlp_hidden": 24, "heads": 2, "patch": (4, 4)},
        "dropout": 0.1,
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
    },
    "weights": {"path": ""},
    "objective": {"kind": "classification", "loss": "softmax", "mixup": 0.2},
    "optimizer": {
        "name": "adamw",
        "peak_learning_rate": 1e-2,
        "schedule": {"name": "cosine", "warmup_steps": 1},
        "weight_decay": 0.01,
        "rates": (),
    },
    "average": {"decay": 0.0},
    "sharpness": {"rho_max": 0.0, "rho_min": 0.0, "alpha": 0.0},
    "checkpoint": {"every": 2, "keep_last": 9},
    "log": {"every": 1, "tensorboard": False},
    "profile": {"steps": 0},
    "mesh": {"data": 2},
    "threads": 0,
}


def config(**changes: Any) -> Config:
    """Returns the small experiment with some of its fields changed, as in `optimizer__weight_decay=0.1`."""
    fields = {name: dict(value) if isinstance(value, dict) else value for name, value in FIELDS.items()}
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            fields[section][key] = value
        else:
            fields[section] = value
    return Config(**fields)


def train(folder: Path, **changes: Any) -> tuple[loop.Outcome, str]:
    """Runs it in `folder`; returns how it ended and what it said."""
    with tempfile.TemporaryFile("w+") as stream:
        outcome = loop.train(config(**changes), folder, stream)
        stream.seek(0)
        return outcome, stream.read()
