"""The masked autoencoder on ImageNet, and its fine-tuning (arXiv 2111.06377, appendix A.1).

    ./run.sh train --config=configs/mae.py:b16 --workdir=runs/mae
    ./run.sh train --config=configs/mae.py:b16,finetune --config.weights.path=runs/mae --workdir=runs/mae-tuned

The argument is MODEL,STAGE, of which the last may be left out: MODEL is one of b16 l16 h14; STAGE pretrain, which
paints three quarters of the patches from the others and looks at no label, or finetune. ImageNet is read as TFDS
prepared it (ArrayRecord); any other source takes its place: --config.source="{'kind': 'folder', 'path': 'FOLDER'}".

Other than as published: RandAugment (2, 9) has TensorFlow's operations and no random strengths, and the class token is
pooled, which the paper finds as good as the mean (appendix A.1).
Expected (paper, table 3, after 1,600 epochs, --config.steps=495451): ImageNet top-1 83.6 (B/16), 85.9 (L/16), 86.9
(H/14). Without that it pre-trains for 800 epochs, as most of the paper's comparisons do.
"""

from ml_collections import ConfigDict

from vit_jax.errors import pick
from vit_jax.tools.configuration import words

# Size; of fine-tuning: epochs, learning rate at a batch of 256, layer-wise decay of the rate, stochastic depth (table
# 9, and the published commands).
SIZES = {
    "b16": ("B/16", 100, 5e-4, 0.65, 0.1),
    "l16": ("L/16", 50, 1e-3, 0.75, 0.2),
    "h14": ("H/14", 50, 1e-3, 0.75, 0.3),
}
IMAGES = 1_268_355  # of train[:99%]
# Batch size, to which the learning rate is in proportion; warm-up in epochs (tables 8 and 9).
STAGES = {"pretrain": (4096, 40), "finetune": (1024, 5)}
PRETRAINING_RATE = 1.5e-4  # at a batch of 256
PRETRAINING_EPOCHS = 800


def get_config(argument: str = "") -> ConfigDict:
    model, stage = words(argument, default="b16,pretrain")
    size, tuning_epochs, tuning_rate, layer_decay, stochastic_depth = pick(SIZES, model, "model")
    batch_size, warmup_epochs = pick(STAGES, stage, "stage")
    tuning = stage == "finetune"

    config = ConfigDict()
    config.seed = 0
    config.steps = (tuning_epochs if tuning else PRETRAINING_EPOCHS) * IMAGES // batch_size
    config.batch_size = batch_size
    config.accumulate = 1
    config.image_size = (224, 224)
    # ImageNet's own mean and deviation, as published
    config.value_range = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    config.source = {"kind": "tfds", "name": "imagenet2012", "data_dir": ""}
    config.train = {
        "split": "train[:99%]",
        "preprocess": {
            "kind": "inception_crop",
            "area": (0.08, 1.0) if tuning else (0.2, 1.0),
            "flip": True,
            "resample": "bicubic",
            "decoder": "pil",
        },
        "augment": {"randaugment": {"layers": 2, "magnitude": 9}, "erase": {"probability": 0.25}} if tuning else {},
        "sampling": {"repeats": 1, "balance": 0.0, "unreadable_share": 0.001},
    }
    config.evaluate = {
        "split": "train[99%:]",
        "preprocess": {"kind": "resize_crop", "crop_ratio": 0.875, "resample": "bicubic"},
        "batch_size": 1024,
        "every": 10_000,
    }
    config.model = {
        "size": size,
        "pool": "class_token",
        "positions": "sincos2d",
        "pre_logits": 0,
        "head_bias": 0.0,
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
        "dropout": 0.0,
        "stochastic_depth": stochastic_depth if tuning else 0.0,
        "dtype": "bfloat16",
    }
    config.weights = {"path": "runs/mae" if tuning else "", "new_head": tuning}
    config.objective = (
        {"kind": "classification", "loss": "softmax", "label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0}
        if tuning
        else {
            "kind": "masked_autoencoder",
            "masked": 0.75,
            "normalized": True,  # section 4.1: better than plain pixels
            "decoder_width": 512,
            "decoder_depth": 8,
            "decoder_heads": 16,
        }
    )
    config.optimizer = {
        "name": "adamw",
        "peak_learning_rate": (tuning_rate if tuning else PRETRAINING_RATE) * batch_size / 256,
        "schedule": {"name": "cosine", "warmup_steps": warmup_epochs * IMAGES // batch_size},
        "clip_norm": 0.0,
        "weight_decay": 0.05,
        "decay_follows": "learning_rate",
        "b1": 0.9,
        "b2": 0.999 if tuning else 0.95,
        "rates": (),
        "layer_decay": layer_decay if tuning else 1.0,
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
