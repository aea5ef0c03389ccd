"""Masked patch prediction, the paper's self-supervision (arXiv 2010.11929, section 4.6 and appendix B.1.2).

    ./run.sh train --config=configs/masked.py:b16,imagenet2012 --workdir=runs/masked
    ./run.sh train --config=configs/finetune.py:b16,imagenet2012 --config.weights.path=runs/masked --workdir=runs/tuned

The argument is MODEL,DATA,TARGET, of which the last ones may be left out: MODEL is one of b16 b32 l16; DATA jft,
imagenet2012 or folder; TARGET what is predicted of a patch: mean_color (the paper's choice), downsized (4 x 4 colours)
or pixels. Half of an image's patches are corrupted, and predicted. Labels are not looked at.
JFT-300M is not public: as with folder, --config.source.path=FOLDER says where the images are, in a subfolder or more.

Expected (paper, appendix B.1.2): B/16 from JFT-300M 79.9% on ImageNet once fine-tuned, 2 points above training from
scratch and 4 below supervised pre-training; 100k steps are nearly as good, and so are ImageNet's images.
"""

from ml_collections import ConfigDict

from vit_jax.errors import pick
from vit_jax.objectives.masked_patches import TARGETS
from vit_jax.tools.configuration import words

SIZES = {"b16": "B/16", "b32": "B/32", "l16": "L/16"}
STEPS = {"jft": 1_000_000, "imagenet2012": 100_000, "folder": 100_000}


def get_config(argument: str = "") -> ConfigDict:
    model, data, target = words(argument, default="b16,imagenet2012,mean_color")
    pick(TARGETS, target, "target")

    config = ConfigDict()
    config.seed = 0
    config.steps = pick(STEPS, data, "data")
    config.batch_size = 4096
    config.accumulate = 1
    config.image_size = (224, 224)
    config.value_range = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    prepared = {"kind": "tfds", "name": "imagenet2012", "data_dir": ""}
    config.source = prepared if data == "imagenet2012" else {"kind": "folder", "path": ""}
    config.train = {
        "split": "train[:99%]",
        # the published code: Inception crop and flip
        "preprocess": {"kind": "inception_crop", "area": (0.05, 1.0), "flip": True, "decoder": "pil"},
        "augment": {},
        "sampling": {"repeats": 1, "balance": 0.0, "unreadable_share": 0.001},
    }
    config.evaluate = {
        "split": "train[99%:]",
        "preprocess": {"kind": "resize_crop", "crop_ratio": 0.875},
        "batch_size": 1024,
        "every": 10_000,
    }
    config.model = {
        "size": pick(SIZES, model, "model"),
        "pool": "class_token",
        "positions": "learned",
        "pre_logits": 0,
        "head_bias": 0.0,
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
        "dropout": 0.0,
        "stochastic_depth": 0.0,
        "dtype": "bfloat16",
    }
    config.weights = {"path": "", "new_head": False}
    config.objective = {
        "kind": "masked_patches",
        "target": target,
        "corrupted": 0.5,
        "masked": 0.8,  # of those corrupted; a tenth gets another patch's embedding, a tenth keeps its own
        "replaced": 0.1,
    }
    config.optimizer = {
        "name": "adam",
        "peak_learning_rate": 2e-4,
        "schedule": {"name": "cosine", "warmup_steps": 10_000},
        "clip_norm": 1.0,  # as from scratch on ImageNet: appendix B.1
        "weight_decay": 0.0,
        "decay_follows": "learning_rate",
        "rates": (),
    }
    config.average = {"decay": 0.0}
    config.sharpness = {"rho_max": 0.0, "rho_min": 0.0, "alpha": 0.0}
    config.checkpoint = {"every": 5_000, "keep_last": 2, "keep_best": 1}
    config.log = {"every": 100, "tensorboard": True}
    config.profile = {"first_step": 10, "steps": 0}
    config.mesh = {"data": -1}
    config.threads = 16
    config.processes = 0
    return config
