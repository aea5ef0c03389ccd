"""The paper in miniature: pre-train on formula-driven images, fine-tune on few real ones at a higher resolution.

    ./run.sh                                                            (all of it, and a report)
    ./run.sh train --config=configs/miniature.py:pretrain --workdir=runs/miniature/pretrain      (a part of it)
    ./run.sh train --config=configs/miniature.py:finetune,100 --workdir=runs/miniature/finetune-100
    ./run.sh train --config=configs/miniature.py:scratch,100 --workdir=runs/miniature/scratch-100

The argument is pretrain, or START,LABELS: START finetune or scratch, LABELS how many digits have a label, 0 for all.
Expected (`test`, seed 0, on two CPU cores): fine-tuned 88.6, 90.6 and 93.0% with 100, 400 and all labels; from scratch
75.8, 78.2 and 71.2%.
"""

from ml_collections import ConfigDict

from vit_jax.errors import pick

# What is done, and at which resolution: (image size, batch size, steps, peak learning rate, warm-up).
# The learning rates of both arms were chosen on the digits' `val` split: accuracy with 100 and 400 labels, mean of 2
# seeds, after 1,500 steps of pre-training on 60 fractals a class:
#             1e-3           3e-3           6e-3
# finetune    0.820, 0.855   0.875, 0.942   0.917, 0.930
# scratch     0.742, 0.720   0.810, 0.823   0.823, 0.768
STAGES = {
    "pretrain": (16, 64, 1400, 3e-3, 100),
    "finetune": (24, 32, 200, 6e-3, 30),
    "scratch": (24, 32, 200, 3e-3, 30),
}
# Mild: digits fill their 8 x 8 pixels, and fractals vary enough by themselves.
CROP = {"kind": "inception_crop", "area": (0.75, 1.0), "ratio": (0.85, 1.18), "flip": False, "decoder": "pil"}


def get_config(argument: str = "pretrain") -> ConfigDict:
    stage, _, labels = argument.partition(",")
    pixels, batch_size, steps, peak_learning_rate, warmup_steps = pick(STAGES, stage, "stage")
    fractals = {
        "kind": "fractals",
        "classes": 100,
        "per_class": 50,
        "image_size": (24, 24),
        "seed": 0,
        "paint": "glow",  # with random colours so few steps teach nothing that helps
    }
    digits = {"kind": "digits", "labels": int(labels or 0)}

    config = ConfigDict()
    config.seed = 0
    config.steps = steps
    config.batch_size = batch_size
    config.accumulate = 1
    config.image_size = (pixels, pixels)
    config.value_range = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    config.source = fractals if stage == "pretrain" else digits
    config.train = {
        "split": "train",
        "preprocess": CROP,
        "augment": {},
        "sampling": {"repeats": 1, "balance": 0.0, "unreadable_share": 0.001},
    }
    config.evaluate = {
        "split": "val" if stage == "pretrain" else "test",
        "preprocess": {"kind": "squash"},
        "batch_size": 250,
        "every": 0,  # at the end only: nothing is chosen by it
    }
    config.model = {
        "size": {"width": 64, "depth": 4, "mlp_hidden": 128, "heads": 4, "patch": (4, 4)},
        "pool": "class_token",
        "positions": "learned",
        "pre_logits": 0,
        "head_bias": 0.0,
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
        "dropout": 0.0,
        "stochastic_depth": 0.0,
        "dtype": "float32",
    }
    config.weights = {"path": "runs/miniature/pretrain" if stage == "finetune" else "", "new_head": True}
    config.objective = {
        "kind": "classification",
        "loss": "softmax",
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
    }
    config.optimizer = {
        "name": "adamw",
        "peak_learning_rate": peak_learning_rate,
        "schedule": {"name": "cosine", "warmup_steps": warmup_steps},
        "clip_norm": 1.0,
        "weight_decay": 0.05,
        "rates": (),
    }
    config.average = {"decay": 0.0}
    config.sharpness = {"rho_max": 0.0, "rho_min": 0.0, "alpha": 0.0}
    config.checkpoint = {"every": 500, "keep_last": 1, "keep_best": 0}
    config.log = {"every": 25, "tensorboard": False}
    config.profile = {"first_step": 10, "steps": 0}
    config.mesh = {"data": 1}  # too small to be split
    config.threads = 2
    config.processes = 0
    return config
