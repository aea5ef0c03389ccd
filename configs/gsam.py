"""Trains on ImageNet from scratch towards flat minima, without augmentation, by GSAM (arXiv 2203.08065).

    ./run.sh train --config=configs/gsam.py:b32 --workdir=runs/gsam

The argument is the model: s32, s16, b32 or b16. A step costs two. With --config.sharpness.rho_min=0.6 and
--config.sharpness.alpha=0.0 it is SAM (arXiv 2010.01412). ImageNet is read as TFDS prepared it (ArrayRecord); any other
source takes its place, as in --config.source="{'kind': 'folder', 'path': 'FOLDER'}".
The numbers are those of the published big_vision config vit_i1k_gsam_no_aug.py.

Expected (paper, abstract): ImageNet top-1 of B/32 5.4 points above AdamW, 3.2 above SAM.
"""

from ml_collections import ConfigDict

from vit_jax.errors import pick

SIZES = {"s32": "S/32", "s16": "S/16", "b32": "B/32", "b16": "B/16"}
IMAGES = 1_268_355  # of train[:99%]
EPOCHS = 300
BATCH_SIZE = 4096


def get_config(model: str = "b32") -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.steps = EPOCHS * IMAGES // BATCH_SIZE
    config.batch_size = BATCH_SIZE
    config.accumulate = 1
    config.image_size = (224, 224)
    config.value_range = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    config.source = {"kind": "tfds", "name": "imagenet2012", "data_dir": ""}
    config.train = {
        "split": "train[:99%]",
        "preprocess": {"kind": "inception_crop", "area": (0.05, 1.0), "flip": True, "decoder": "pil"},
        "augment": {},  # none: flat minima do instead
        "sampling": {"repeats": 1, "balance": 0.0, "unreadable_share": 0.001},
    }
    config.evaluate = {
        "split": "train[99%:]",
        "preprocess": {"kind": "resize_crop", "crop_ratio": 0.875},  # 224 of 256
        "batch_size": 1024,
        "every": 2_500,
    }
    config.model = {
        "size": pick(SIZES, model, "model"),
        "pool": "mean",
        "positions": "learned",
        "pre_logits": 0,
        "head_bias": -10.0,
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
        "dropout": 0.0,
        "stochastic_depth": 0.0,
        "dtype": "bfloat16",
    }
    config.weights = {"path": "", "new_head": False}
    config.objective = {
        "kind": "classification",
        "loss": "sigmoid",
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
    }
    config.optimizer = {
        "name": "adamw",
        "peak_learning_rate": 3e-3,
        "schedule": {"name": "linear", "warmup_steps": 10_000, "end": 0.01},
        "clip_norm": 1.0,
        "weight_decay": 1e-3,
        "decay_follows": "schedule",  # as if it were 0.33 and followed the learning rate; the paper's 0.3
        "rates": (),
    }
    config.average = {"decay": 0.0}
    config.sharpness = {"rho_max": 0.6, "rho_min": 0.1, "alpha": 0.6}
    config.checkpoint = {"every": 1_000, "keep_last": 2, "keep_best": 1}
    config.log = {"every": 50, "tensorboard": True}
    config.profile = {"first_step": 10, "steps": 0}
    config.mesh = {"data": -1}
    config.threads = 16
    config.processes = 0
    return config
