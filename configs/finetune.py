"""Fine-tunes a published checkpoint at 384 pixels as the paper's Table 4 says (arXiv 2010.11929, appendix B.1.1).

    ./run.sh train --config=configs/finetune.py:b16,cifar10 --config.weights.path=ViT-B_16.npz --workdir=runs/cifar10

The argument is MODEL,DATA,RATE, of which the last ones may be left out. MODEL is one of b16 b32 l16 l32 h14 r50b16
r50l32: Google's, from the paper, whose file --config.weights.path names (a path, gs://vit_models/imagenet21k/ViT-B_16.npz
or google:imagenet21k/ViT-B_16); or else any weights that vit_jax.load takes, by a name (with a colon) or a path (with a
slash or a dot), whose own model, value range and image size the config then has:

    ./run.sh train --config=configs/finetune.py:timm:vit_small_patch14_dinov2.lvd142m,folder --config.source.path=FOLDER

DATA is one of imagenet2012 cifar10 cifar100 pets flowers (read as TFDS prepared them) or folder: your own images, with
--config.source.path=FOLDER; RATE one of table 4's, from which the paper chose on the images that are held out here. A
run never starts without its weights.

Expected (paper, table 5, from ImageNet-21k): B/16 98.95 on CIFAR-10, 91.67 on CIFAR-100, 83.97 on ImageNet, 94.43 on
Pets, 99.38 on Flowers. (For table 2's ImageNet row, resolution 512, or 518 for H/14, and averaging:
--config.image_size=(512,512) --config.average.decay=0.9999.)
"""

from typing import Any

from ml_collections import ConfigDict

from vit_jax.errors import pick
from vit_jax.tools.configuration import words

SIZES = {
    "b16": ("B/16", "ViT-B_16.npz"),
    "b32": ("B/32", "ViT-B_32.npz"),
    "l16": ("L/16", "ViT-L_16.npz"),
    "l32": ("L/32", "ViT-L_32.npz"),
    "h14": ("H/14", "ViT-H_14.npz"),
    "r50b16": ("R50+B/16", "R50+ViT-B_16.npz"),
    "r50l32": ("R50+L/32", "R50+ViT-L_32.npz"),
}

# Paper, table 4: steps and the learning rates that were tried; the share to learn from while choosing.
# Warm-up: the published code (500), big_vision's transfer recipe for the 500-step runs (100).
TABLE_4 = {
    "imagenet2012": ("imagenet2012", 20_000, 500, (0.003, 0.01, 0.03, 0.06), "99%"),
    "cifar100": ("cifar100", 10_000, 500, (0.001, 0.003, 0.01, 0.03), "98%"),
    "cifar10": ("cifar10", 10_000, 500, (0.001, 0.003, 0.01, 0.03), "98%"),
    "pets": ("oxford_iiit_pet", 500, 100, (0.001, 0.003, 0.01, 0.03), "90%"),
    "flowers": ("oxford_flowers102", 500, 100, (0.001, 0.003, 0.01, 0.03), "90%"),
    "folder": ("", 500, 100, (0.001, 0.003, 0.01, 0.03), "90%"),  # as for the small data sets
}


NAMES = set(":/.")  # what one of SIZES does not have, and the name or the path of weights does


def google(model: str) -> dict[str, Any]:
    """Returns the sections that tell of the paper's weights, which do not tell it themselves."""
    size, file = pick(SIZES, model, "model")
    return {
        # Table 4; patches of 14 do not tile 384 pixels, and the published code leaves the last 6 unseen.
        "image_size": (378, 378) if model == "h14" else (384, 384),
        "value_range": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},  # what they were trained with
        "model": {
            "size": size,
            "pool": "class_token",
            "positions": "learned",
            "activation": "gelu_tanh",
            "norm_epsilon": 1e-6,
        },
        "weights": {"path": file, "new_head": True},
    }


def anybody(name: str) -> dict[str, Any]:
    """Returns the sections that tell of the weights of this name, or at this path, as their recipe has it."""
    from vit_jax.train import start  # takes JAX along

    recipe = start.trained(name).recipe
    return {
        "image_size": recipe.image_size,
        "value_range": {"mean": recipe.mean, "std": recipe.std},
        "model": {option: value for option, value in recipe.model.items() if option != "classes"},
        "weights": {"path": name, "new_head": True},
    }


def get_config(argument: str = "") -> ConfigDict:
    model, data, rate = words(argument, default="b16,cifar10,")
    own = anybody(model) if NAMES & set(model) else google(model)
    name, steps, warmup_steps, learning_rates, kept = pick(TABLE_4, data, "data")
    grid = {str(learning_rate): learning_rate for learning_rate in learning_rates}

    config = ConfigDict()
    config.seed = 0
    config.steps = steps
    config.batch_size = 512  # table 4
    config.accumulate = 1
    config.image_size = own["image_size"]
    config.value_range = own["value_range"]
    config.source = (
        {"kind": "folder", "path": ""} if data == "folder" else {"kind": "tfds", "name": name, "data_dir": ""}
    )
    config.train = {
        "split": f"train[:{kept}]",
        # the published code: Inception crop and flip
        "preprocess": {"kind": "inception_crop", "area": (0.05, 1.0), "flip": True, "decoder": "pil"},
        "augment": {},
        "sampling": {"repeats": 1, "balance": 0.0, "unreadable_share": 0.001},
    }
    config.evaluate = {
        "split": f"train[{kept}:]",  # what is held out; `./run.sh evaluate --split=test` looks at the test set, once
        "preprocess": {"kind": "squash"},  # the published code
        "batch_size": 512,
        "every": steps // 10,
    }
    config.model = own["model"] | {
        "pre_logits": 0,  # section 3.2: the whole pre-trained head goes
        "head_bias": 0.0,
        "dropout": 0.0,
        "stochastic_depth": 0.0,
        "dtype": "bfloat16",
    }
    config.weights = own["weights"]
    config.objective = {
        "kind": "classification",
        "loss": "softmax",
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
    }
    config.optimizer = {
        "name": "sgd",
        "peak_learning_rate": pick(grid, rate or str(learning_rates[2]), "learning rate of table 4"),
        "schedule": {"name": "cosine", "warmup_steps": warmup_steps},
        "clip_norm": 1.0,
        "weight_decay": 0.0,
        "momentum": 0.9,
        "momentum_dtype": "bfloat16",  # the published code
        "rates": (),
        "layer_decay": 1.0,
    }
    config.average = {"decay": 0.0}  # 0.9999 for the ImageNet results of table 2: section 4.1
    config.sharpness = {"rho_max": 0.0, "rho_min": 0.0, "alpha": 0.0}
    config.checkpoint = {"every": 500, "keep_last": 1, "keep_best": 1}
    config.log = {"every": 50, "tensorboard": True}
    config.profile = {"first_step": 10, "steps": 0}
    config.mesh = {"data": -1}
    config.threads = 16
    config.processes = 0
    return config
