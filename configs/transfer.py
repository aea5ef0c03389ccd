"""Fine-tunes a published checkpoint as AugReg and big_vision do (arXiv 2106.10270, table 4; big_vision's transfer.py).

    ./run.sh train --config=configs/transfer.py:b32,cifar10,short_side --config.weights.path=FILE.npz --workdir=runs/b32

The argument is MODEL,DATA,CROP,LENGTH, of which the last ones may be left out: MODEL is one of ti16 s32 s16 b32 b16 l16
rti16 r26s32 r50l32 plain_s16; DATA one of imagenet2012 cifar10 cifar100 pets flowers kitti resisc45 folder; CROP
inception, short_side (the short side to 448 pixels, then a crop of 384) or squash (both to 448); LENGTH short or long.
The weights are a file or a gs:// address, such as gs://vit_models/augreg/….npz. A run never starts without them. Of a
model's many AugReg files the best is the one with the best validation accuracy upstream (section 4.5).

Expected: B/32 of AugReg from ImageNet-21k, mean of 5 (transfer.py): ImageNet 83.27 (inception, rate 0.03), CIFAR-10
98.55 (short_side, 0.003), CIFAR-100 91.35 (short_side, long, 0.01), Pets 93.78 and Flowers 99.43 (inception, 0.003);
the rate by --config.optimizer.peak_learning_rate.
"""

from ml_collections import ConfigDict

from vit_jax.errors import pick
from vit_jax.tools.configuration import words

# Size, pooling, positions, width of the layer before the head.
MODELS = {
    "ti16": ("Ti/16", "class_token", "learned", 0),
    "s32": ("S/32", "class_token", "learned", 0),
    "s16": ("S/16", "class_token", "learned", 0),
    "b32": ("B/32", "class_token", "learned", 0),
    "b16": ("B/16", "class_token", "learned", 0),
    "l16": ("L/16", "class_token", "learned", 0),
    "rti16": ("R+Ti/16", "class_token", "learned", 0),
    "r26s32": ("R26+S/32", "class_token", "learned", 0),
    "r50l32": ("R50+L/32", "class_token", "learned", 0),
    "plain_s16": ("S/16", "mean", "sincos2d", 384),  # configs/plain_s16.py keeps its hidden layer
}
# Source, split to learn from while choosing, split to choose by, learning rates that were tried, steps and warm-up of
# the short and of the long schedule.
DATA = {
    "imagenet2012": ("imagenet2012", "train[:99%]", "train[99%:]", (0.01, 0.03), (20_000, 500), (20_000, 500)),
    "cifar10": ("cifar10", "train[:98%]", "train[98%:]", (0.001, 0.003, 0.01, 0.03), (10_000, 500), (10_000, 500)),
    "cifar100": ("cifar100", "train[:98%]", "train[98%:]", (0.001, 0.003, 0.01), (2_500, 200), (10_000, 500)),
    "pets": ("oxford_iiit_pet", "train[:90%]", "train[90%:]", (0.001, 0.003, 0.01), (500, 100), (2_500, 200)),
    "flowers": ("oxford_flowers102", "train[:90%]", "train[90%:]", (0.001, 0.003, 0.01), (500, 100), (2_500, 200)),
    "kitti": ("kitti_distance", "train", "val", (0.001, 0.003, 0.01), (500, 100), (2_500, 200)),
    "resisc45": ("resisc45", "train[:90%]", "train[90%:]", (0.001, 0.003, 0.01), (2_500, 200), (10_000, 500)),
    "folder": ("", "train[:90%]", "train[90%:]", (0.001, 0.003, 0.01), (500, 100), (2_500, 200)),
}
# 384 of 448 pixels.
CROPS = {
    "inception": {"kind": "inception_crop", "area": (0.05, 1.0), "flip": True, "decoder": "pil"},
    "short_side": {"kind": "random_crop", "crop_ratio": 384 / 448, "squash": False, "flip": True, "decoder": "pil"},
    "squash": {"kind": "random_crop", "crop_ratio": 384 / 448, "squash": True, "flip": True, "decoder": "pil"},
}
LENGTHS = {"short": 0, "long": 1}


def get_config(argument: str = "") -> ConfigDict:
    model, data, crop, length = words(argument, default="b32,cifar10,inception,short")
    size, pool, positions, pre_logits = pick(MODELS, model, "model")
    name, learn, examine, learning_rates, *lengths = pick(DATA, data, "data")
    steps, warmup_steps = lengths[pick(LENGTHS, length, "length")]

    config = ConfigDict()
    config.seed = 0
    config.steps = steps
    config.batch_size = 512
    config.accumulate = 1
    config.image_size = (384, 384)
    config.value_range = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    others = {"folder": {"kind": "folder", "path": ""}, "kitti": {"kind": "vtab", "task": name, "data_dir": ""}}
    config.source = others.get(data, {"kind": "tfds", "name": name, "data_dir": ""})
    config.train = {
        "split": learn,
        "preprocess": pick(CROPS, crop, "crop"),
        "augment": {},
        "sampling": {"repeats": 1, "balance": 0.0, "unreadable_share": 0.001},
    }
    config.evaluate = {
        "split": examine,  # held out; `./run.sh evaluate --split=test` looks at the test set, once
        "preprocess": {"kind": "resize_crop", "crop_ratio": 384 / 448},
        "batch_size": 512,
        "every": steps // 10,
    }
    config.model = {
        "size": size,
        "pool": pool,
        "positions": positions,
        "pre_logits": pre_logits,
        "head_bias": 0.0,
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
        "dropout": 0.0,
        "stochastic_depth": 0.0,
        "dtype": "bfloat16",
    }
    config.weights = {"path": "weights.npz", "new_head": True}
    config.objective = {
        "kind": "classification",
        "loss": "softmax",
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
    }
    config.optimizer = {
        "name": "sgd",
        "peak_learning_rate": learning_rates[1],  # the others that were tried are one flag away
        "schedule": {"name": "cosine", "warmup_steps": warmup_steps},
        "clip_norm": 1.0,
        "weight_decay": 0.0,
        "decay_follows": "learning_rate",
        "momentum": 0.9,
        "momentum_dtype": "bfloat16",
        "rates": (),
    }
    config.average = {"decay": 0.0}
    config.sharpness = {"rho_max": 0.0, "rho_min": 0.0, "alpha": 0.0}
    config.checkpoint = {"every": 500, "keep_last": 1, "keep_best": 1}
    config.log = {"every": 50, "tensorboard": True}
    config.profile = {"first_step": 10, "steps": 0}
    config.mesh = {"data": -1}
    config.threads = 16
    config.processes = 0
    return config
