"""Pre-trains the paper's models as its Table 3 says (arXiv 2010.11929, section 4.1 and appendix B.1).

    ./run.sh train --config=configs/pretrain.py:b16,imagenet2012 --workdir=runs/b16

The argument is MODEL,DATA,EPOCHS, of which the last ones may be left out: MODEL is one of b16 b32 l16 l32 h14, and for
JFT-300M of the hybrids r50b16 r50b32 r50l16 r50l32 and the ResNets r50x1 r50x2 r101x1 r152x1 r152x2 too; DATA one of
imagenet2012 imagenet21k jft; EPOCHS one of the table's, where the paper tried two.
ImageNet is read as TFDS prepared it (ArrayRecord). ImageNet-21k has no public TFDS data set and JFT-300M is not public
at all: their recipes read a folder with a subfolder for each class, given by --config.source.path=FOLDER. Any other
source takes its place, as in --config.source="{'kind': 'fractals', 'classes': 1000, 'per_class': 1000, …}".

Expected (paper, table 5, after fine-tuning at 384 pixels): ImageNet top-1 of B/16 77.91 from ImageNet, 83.97 from
ImageNet-21k, 84.15 from JFT-300M; table 6 has the hybrids and the ResNets.
"""

from ml_collections import ConfigDict

from vit_jax.errors import UserError, pick
from vit_jax.tools.configuration import words

# Size, and the width of the hidden layer that the head has in pre-training (section 3.1).
VITS = {
    "b16": ("B/16", 768),
    "b32": ("B/32", 768),
    "l16": ("L/16", 1024),
    "l32": ("L/32", 1024),
    "h14": ("H/14", 1280),
    "r50b16": ("R50+B/16", 768),
    "r50b32": ("R50+B/32", 768),
    "r50l16": ("R50+L/16", 1024),
    "r50l32": ("R50+L/32", 1024),
}
RESNETS = {"r50x1": "R50x1", "r50x2": "R50x2", "r101x1": "R101x1", "r152x1": "R152x1", "r152x2": "R152x2"}

# Images in the training split: ImageNet and ImageNet-21k as published, JFT-300M as in the paper, section 4.1. Epochs
# are counted in these, so that the images held out below are made up for.
IMAGES = {"imagenet2012": 1_281_167, "imagenet21k": 14_197_122, "jft": 303_000_000}

# Paper, table 3: epochs, peak learning rate, schedule, weight decay, dropout; clipping: appendix B.1, ImageNet alone.
# Where there are two numbers of epochs, the first is what is taken without a word.
TABLE_3 = {
    ("b16", "jft"): ((7,), 8e-4, "linear", 0.1, 0.0, 0.0),
    ("b32", "jft"): ((7,), 8e-4, "linear", 0.1, 0.0, 0.0),
    ("l32", "jft"): ((7,), 6e-4, "linear", 0.1, 0.0, 0.0),
    ("l16", "jft"): ((14, 7), 4e-4, "linear", 0.1, 0.0, 0.0),
    ("h14", "jft"): ((14,), 3e-4, "linear", 0.1, 0.0, 0.0),
    ("r50x1", "jft"): ((7,), 1e-3, "linear", 0.1, 0.0, 0.0),
    ("r50x2", "jft"): ((7,), 1e-3, "linear", 0.1, 0.0, 0.0),
    ("r101x1", "jft"): ((7,), 8e-4, "linear", 0.1, 0.0, 0.0),
    ("r152x1", "jft"): ((7,), 6e-4, "linear", 0.1, 0.0, 0.0),
    ("r152x2", "jft"): ((7, 14), 6e-4, "linear", 0.1, 0.0, 0.0),  # 14: table 6
    ("r50b16", "jft"): ((7,), 8e-4, "linear", 0.1, 0.0, 0.0),
    ("r50b32", "jft"): ((7,), 8e-4, "linear", 0.1, 0.0, 0.0),
    ("r50l32", "jft"): ((7,), 2e-4, "linear", 0.1, 0.0, 0.0),
    ("r50l16", "jft"): ((14, 7), 4e-4, "linear", 0.1, 0.0, 0.0),
    ("b16", "imagenet21k"): ((90,), 1e-3, "linear", 0.03, 0.1, 0.0),
    ("b32", "imagenet21k"): ((90,), 1e-3, "linear", 0.03, 0.1, 0.0),
    ("l16", "imagenet21k"): ((90, 30), 1e-3, "linear", 0.03, 0.1, 0.0),
    ("l32", "imagenet21k"): ((90, 30), 1e-3, "linear", 0.03, 0.1, 0.0),
    ("b16", "imagenet2012"): ((300,), 3e-3, "cosine", 0.3, 0.1, 1.0),
    ("b32", "imagenet2012"): ((300,), 3e-3, "cosine", 0.3, 0.1, 1.0),
    ("l16", "imagenet2012"): ((300,), 3e-3, "cosine", 0.3, 0.1, 1.0),
    ("l32", "imagenet2012"): ((300,), 3e-3, "cosine", 0.3, 0.1, 1.0),
}
BATCH_SIZE = 4096  # paper, section 4.1


def get_config(argument: str = "") -> ConfigDict:
    model, data, wanted = words(argument, default="b16,imagenet2012,")
    pick(VITS | RESNETS, model, "model")
    pick(IMAGES, data, "data")
    if (model, data) not in TABLE_3:
        raise UserError(f"the paper has no recipe for {model} on {data}; it has {', '.join(map(','.join, TABLE_3))}")
    tried, peak_learning_rate, schedule, weight_decay, dropout, clip_norm = TABLE_3[model, data]
    epochs = pick({str(number): number for number in tried}, wanted or str(tried[0]), "number of epochs")

    config = ConfigDict()
    config.seed = 0
    config.steps = epochs * IMAGES[data] // BATCH_SIZE
    config.batch_size = BATCH_SIZE
    config.accumulate = 1
    config.image_size = (224, 224)
    config.value_range = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # [-1, 1]: the published code
    prepared = {"kind": "tfds", "name": data, "data_dir": ""}
    config.source = prepared if data == "imagenet2012" else {"kind": "folder", "path": ""}
    config.train = {
        "split": "train[:99%]",
        # the published code: Inception crop and flip
        "preprocess": {"kind": "inception_crop", "area": (0.05, 1.0), "flip": True, "decoder": "pil"},
        "augment": {},
        "sampling": {"repeats": 1, "balance": 0.0, "unreadable_share": 0.001},
    }
    config.evaluate = {
        "split": "train[99%:]",  # paper, appendix B.1.1: 1% held out
        "preprocess": {"kind": "resize_crop", "crop_ratio": 0.875},
        "batch_size": 1024,
        "every": 10_000,
    }
    config.model = (
        {"size": RESNETS[model], "head_bias": 0.0, "dtype": "bfloat16"}
        if model in RESNETS
        else {
            "size": VITS[model][0],
            "pool": "class_token",
            "positions": "learned",
            "pre_logits": VITS[model][1],
            "head_bias": 0.0,
            "activation": "gelu_tanh",
            "norm_epsilon": 1e-6,
            "dropout": dropout,
            "stochastic_depth": 0.0,
            "dtype": "bfloat16",
        }
    )
    config.weights = {"path": "", "new_head": False}
    config.objective = {
        "kind": "classification",
        "loss": "softmax",
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
    }
    config.optimizer = {
        "name": "adamw",  # Adam with decoupled decay, b1 0.9 and b2 0.999: section 4.1
        "peak_learning_rate": peak_learning_rate,
        "schedule": {"name": schedule, "warmup_steps": 10_000},
        "clip_norm": clip_norm,
        "weight_decay": weight_decay,
        "b1": 0.9,
        "b2": 0.999,
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
