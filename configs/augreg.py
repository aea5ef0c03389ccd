"""Pre-trains as "How to train your ViT?" does: its grid of 28 settings a model (arXiv 2106.10270, section 3).

    ./run.sh train --config=configs/augreg.py:b16,imagenet21k --workdir=runs/b16
    ./run.sh train --config=configs/augreg.py:s16,imagenet2012,light1,dropped,0.03 --workdir=runs/s16

The argument is MODEL,DATA,AUGMENTATION,REGULARISATION,DECAY,EPOCHS, of which the last ones may be left out:
MODEL is one of ti16 s32 s16 b32 b16 l16 rti16 r26s32 r50l32; DATA imagenet2012 or imagenet21k; AUGMENTATION one of none
light1 light2 medium1 medium2 strong1 strong2, or recommended for what figure 4 found good for the model and the data;
REGULARISATION plain, or dropped for dropout and stochastic depth of 0.1; DECAY 0.1 or 0.03; EPOCHS 300, or 30, which
the paper took for ImageNet-21k.

ImageNet-21k has no public TFDS data set: its recipe reads a folder with a subfolder for each class, given by
--config.source.path=FOLDER.

Expected (table 3, from ImageNet-21k, 300 epochs, then fine-tuned at 384 pixels on ImageNet by configs/finetune.py):
L/16 85.59, B/16 85.49, S/16 83.73, R50+L/32 85.99, R26+S/32 83.85, Ti/16 78.22, B/32 83.59, S/32 79.58, R+Ti/16 75.40.
"""

from ml_collections import ConfigDict

from vit_jax.data.images.strengths import STRENGTHS
from vit_jax.errors import pick
from vit_jax.tools.configuration import words

# Size, and the augmentation that does well from ImageNet and from ImageNet-21k: figure 4, as big_vision's configs
# vit_i1k.py and vit_i21k.py read it; for the hybrids, which these leave out, that of the plain model of their width.
MODELS = {
    "ti16": ("Ti/16", "light1", "none"),
    "s32": ("S/32", "medium1", "none"),
    "s16": ("S/16", "medium2", "light1"),
    "b32": ("B/32", "medium2", "light2"),
    "b16": ("B/16", "medium2", "light2"),
    "l16": ("L/16", "medium2", "medium2"),
    "rti16": ("R+Ti/16", "light1", "none"),
    "r26s32": ("R26+S/32", "medium1", "none"),
    "r50l32": ("R50+L/32", "medium2", "medium2"),
}
# Images of train[:99%]; the bias of the head, with which every class starts as a rare one; and whether there is a
# hidden layer before the head: section 3.3, and the published configs.
DATA = {"imagenet2012": (1_268_355, -6.9, True), "imagenet21k": (14_055_150, -10.0, False)}
WIDTHS = {"Ti": 192, "S": 384, "B": 768, "L": 1024}
REGULARISATIONS = {"plain": 0.0, "dropped": 0.1}
DECAYS = {"0.1": 0.1, "0.03": 0.03}
EPOCHS = {"300": 300, "30": 30}
BATCH_SIZE = 4096
# The 28 settings of the grid.
GRID = [
    f"{augmentation},{regularisation},{decay}"
    for augmentation in STRENGTHS
    for regularisation in REGULARISATIONS
    for decay in DECAYS
]


def get_config(argument: str = "") -> ConfigDict:
    name, data, augmentation, regularisation, decay, epochs = words(
        argument, default="b16,imagenet2012,recommended,plain,0.1,300"
    )
    size, *recommended = pick(MODELS, name, "model")
    images, head_bias, hidden = pick(DATA, data, "data")
    strengths = STRENGTHS | {"recommended": STRENGTHS[recommended[data == "imagenet21k"]]}
    strength = pick(strengths, augmentation, "augmentation")
    dropped = pick(REGULARISATIONS, regularisation, "regularisation")

    config = ConfigDict()
    config.seed = 0
    config.steps = pick(EPOCHS, epochs, "number of epochs") * images // BATCH_SIZE
    config.batch_size = BATCH_SIZE
    config.accumulate = 1
    config.image_size = (224, 224)
    config.value_range = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    prepared = {"kind": "tfds", "name": data, "data_dir": ""}
    config.source = prepared if data == "imagenet2012" else {"kind": "folder", "path": ""}
    config.train = {
        "split": "train[:99%]",
        "preprocess": {"kind": "inception_crop", "area": (0.05, 1.0), "flip": True, "decoder": "pil"},
        "augment": strength.augment,
        "sampling": {"repeats": 1, "balance": 0.0, "unreadable_share": 0.001},
    }
    config.evaluate = {
        "split": "train[99%:]",
        "preprocess": {"kind": "resize_crop", "crop_ratio": 0.875},  # 224 of 256
        "batch_size": 1024,
        "every": 2_500,
    }
    config.model = {
        "size": size,
        "pool": "class_token",
        "positions": "learned",
        "pre_logits": WIDTHS[size.split("+")[-1].split("/")[0]] if hidden else 0,
        "head_bias": head_bias,
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
        "dropout": dropped,
        "stochastic_depth": dropped,
        "dtype": "bfloat16",
    }
    config.weights = {"path": "", "new_head": False}
    config.objective = {
        "kind": "classification",
        "loss": "sigmoid",
        "label_smoothing": 0.0,
        "mixup": strength.mixup,
        "cutmix": 0.0,
    }
    config.optimizer = {
        "name": "adamw",
        "peak_learning_rate": 1e-3,
        "schedule": {"name": "cosine", "warmup_steps": 10_000},
        "clip_norm": 1.0,
        "weight_decay": pick(DECAYS, decay, "weight decay"),
        "decay_follows": "learning_rate",
        "momentum_dtype": "bfloat16",
        "rates": (),
    }
    config.average = {"decay": 0.0}
    config.sharpness = {"rho_max": 0.0, "rho_min": 0.0, "alpha": 0.0}
    config.checkpoint = {"every": 1_000, "keep_last": 2, "keep_best": 1}
    config.log = {"every": 50, "tensorboard": True}
    config.profile = {"first_step": 10, "steps": 0}
    config.mesh = {"data": -1}
    config.threads = 16
    config.processes = 0
    return config
