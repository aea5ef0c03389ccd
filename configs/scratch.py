"""Trains a Vision Transformer on your own images, with nothing to start from.

    ./run.sh train --config=configs/scratch.py --config.source.path=FOLDER --workdir=runs/mine
    ./run.sh evaluate --workdir=runs/mine --split=test

FOLDER holds a folder of images for each class, or `train/` and `test/` with such folders in them. A twentieth of the
training images is held out to watch the run by; the test images are looked at by `evaluate` alone. A plain folder
keeps a tenth of its images out of `train` altogether: evaluate those with --split=val.

Without an argument the model is small enough for a laptop and sees 32 x 32 pixels. For larger images name a size, as
in --config=configs/scratch.py:S/16, which sees 224 x 224. With fewer than some hundred thousand images, a model that
starts from published weights does far better (paper, section 4.3): configs/finetune.py.

Expected: benchmarks/RESULTS.md has a run of about 15 minutes on two CPU cores over CIFAR-10.
"""

from ml_collections import ConfigDict

SMALL = {"width": 64, "depth": 4, "mlp_hidden": 128, "heads": 2, "patch": (4, 4)}


def get_config(size: str = "") -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.steps = 6_000
    config.batch_size = 64
    config.accumulate = 1
    config.image_size = (224, 224) if size else (32, 32)
    config.value_range = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    config.source = {"kind": "folder", "path": ""}
    config.train = {
        "split": "train[:95%]",
        "preprocess": {"kind": "inception_crop", "area": (0.3, 1.0), "flip": True, "decoder": "pil"},
        "augment": {},
        "sampling": {"repeats": 1, "balance": 0.0, "unreadable_share": 0.001},
    }
    config.evaluate = {
        "split": "train[95%:]",
        "preprocess": {"kind": "squash"},
        "batch_size": 256,
        "every": 1_000,
    }
    config.model = {
        "size": size or SMALL,
        "pool": "mean",
        "positions": "learned",
        "pre_logits": 0,
        "head_bias": 0.0,
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
        "dropout": 0.0,
        "stochastic_depth": 0.0,
        "dtype": "float32",
    }
    config.weights = {"path": "", "new_head": False}
    config.objective = {
        "kind": "classification",
        "loss": "softmax",
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
    }
    config.optimizer = {
        "name": "adamw",
        "peak_learning_rate": 2e-3,
        "schedule": {"name": "cosine", "warmup_steps": 300},
        "clip_norm": 1.0,
        "weight_decay": 0.05,
        "rates": (),
    }
    config.average = {"decay": 0.0}
    config.sharpness = {"rho_max": 0.0, "rho_min": 0.0, "alpha": 0.0}
    config.checkpoint = {"every": 500, "keep_last": 2, "keep_best": 1}
    config.log = {"every": 50, "tensorboard": True}
    config.profile = {"first_step": 10, "steps": 0}
    config.mesh = {"data": -1}
    config.threads = 2
    config.processes = 0
    return config
