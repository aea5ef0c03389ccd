"""Trains a small Vision Transformer on your own images, with nothing to start from.

    ./run.sh train --config=configs/scratch.py --config.source.path=FOLDER --workdir=runs/mine

FOLDER holds a folder of images for each class, or `train/` and `test/` with such folders in them.
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict()
    config.seed = 0
    config.steps = 6_000
    config.batch_size = 128
    config.accumulate = 1
    config.image_size = (32, 32)
    config.value_range = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    config.source = {"kind": "folder", "path": ""}
    config.train = {
        "split": "train",
        "preprocess": {"kind": "inception_crop", "area": (0.3, 1.0), "flip": True},
    }
    config.evaluate = {
        "split": "test",
        "preprocess": {"kind": "squash"},
        "batch_size": 500,
        "every": 2_000,
    }
    config.model = {
        "size": {"width": 128, "depth": 6, "mlp_hidden": 256, "heads": 4, "patch": (4, 4)},
        "pool": "mean",
        "positions": "learned",
        "dropout": 0.0,
        "stochastic_depth": 0.0,
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
        "dtype": "float32",
    }
    config.weights = {"path": "", "new_head": False}
    config.objective = {"name": "softmax", "label_smoothing": 0.1, "mixup": 0.0}
    config.optimizer = {
        "name": "adamw",
        "peak_learning_rate": 1e-3,
        "schedule": {"name": "cosine", "warmup_steps": 500},
        "clip_norm": 1.0,
        "weight_decay": 0.05,
    }
    config.checkpoint = {"every": 500, "keep_last": 2, "keep_best": 1}
    config.log = {"every": 50, "tensorboard": True}
    config.profile = {"first_step": 10, "steps": 0}
    config.mesh = {"data": -1}
    config.threads = 2
    return config
