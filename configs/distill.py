"""Distillation: a small model learns what a large one says (arXiv 2106.05237, "patient and consistent").

    ./run.sh train --config=configs/distill.py:s16,imagenet2012 --config.objective.teacher=ViT-B_16-224.npz
    ./run.sh train --config=configs/distill.py:small,folder --config.source.path=FOLDER --config.objective.teacher=RUN

The argument is STUDENT,DATA, of which the last may be left out: STUDENT is one of ti16 s32 s16 b32 b16 or small, for
32 pixels and a laptop; DATA imagenet2012 or folder. The teacher is a run's workdir, a checkpoint's folder or a
published file (gs://vit_models/imagenet21k+imagenet2012/ViT-B_16-224.npz), of any size, that knows the same classes and
sees images of the same size. It sees the very crops and mixtures that the student sees; labels are not looked at.

As DeiT has it (arXiv 2012.12877, section 4): --config.objective.decision=hard --config.objective.label_share=0.5.
Expected: the paper's student is a ResNet-50, which reaches 82.8% on ImageNet after 9,600 epochs. For these students no
figure is published; benchmarks/self_supervised.py has a small one.
"""

from ml_collections import ConfigDict

from vit_jax.errors import UserError, pick
from vit_jax.tools.configuration import words

SMALL = {"width": 64, "depth": 4, "mlp_hidden": 128, "heads": 2, "patch": (4, 4)}
STUDENTS = {"ti16": "Ti/16", "s32": "S/32", "s16": "S/16", "b32": "B/32", "b16": "B/16", "small": SMALL}
# Steps. ImageNet: 1,200 epochs, "a good middle-ground" in the published config, at its batch size of 4,096.
# A folder's are for some ten thousand images, at the batch size of the small student.
STEPS = {"imagenet2012": 1200 * 1_268_355 // 4096, "folder": 20_000}


def get_config(argument: str = "") -> ConfigDict:
    student, data = words(argument, default="s16,imagenet2012")
    size, small = pick(STUDENTS, student, "student"), student == "small"
    if small and data != "folder":
        raise UserError("the small student learns from a folder of images; write small,folder")

    config = ConfigDict()
    config.seed = 0
    config.steps = pick(STEPS, data, "data")
    config.batch_size = 4096 if data == "imagenet2012" else 64  # 4,096: the published config bit_i1k.py
    config.accumulate = 1
    config.image_size = (32, 32) if small else (224, 224)
    config.value_range = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # the student's; a teacher has its own
    prepared = {"kind": "tfds", "name": "imagenet2012", "data_dir": ""}
    config.source = prepared if data == "imagenet2012" else {"kind": "folder", "path": ""}
    config.train = {
        "split": "train[:99%]",
        "preprocess": {
            "kind": "inception_crop",
            "area": (0.3, 1.0) if small else (0.05, 1.0),
            "flip": True,
            "decoder": "pil",
        },
        "augment": {},
        "sampling": {"repeats": 1, "balance": 0.0, "unreadable_share": 0.001},
    }
    config.evaluate = {
        "split": "train[99%:]",
        "preprocess": {"kind": "resize_crop", "crop_ratio": 1.0 if small else 0.875},
        "batch_size": 1024,
        "every": 5_000,
    }
    config.model = {
        "size": size,
        "pool": "mean",
        "positions": "learned" if small else "sincos2d",  # arXiv 2205.01580
        "pre_logits": 0,
        "head_bias": 0.0,
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
        "dropout": 0.0,
        "stochastic_depth": 0.0,
        "dtype": "float32" if small else "bfloat16",
    }
    config.weights = {"path": "", "new_head": False}
    config.objective = {
        "kind": "distillation",
        "teacher": "runs/teacher",
        "temperature": 1.0,
        "decision": "soft",
        "label_share": 0.0,
        "mixup": 1.0,  # each share of the two images is as likely
        "cutmix": 0.0,
    }
    config.optimizer = {
        "name": "adamw",
        # That of S/16 in arXiv 2205.01580: the published 0.03 and 3e-4 are a ResNet's.
        "peak_learning_rate": 2e-3 if small else 1e-3,
        "schedule": {"name": "cosine", "warmup_steps": 300 if small else 5_000},
        "clip_norm": 1.0,
        "weight_decay": 1e-4,
        "decay_follows": "schedule",
        "momentum_dtype": "float32" if small else "bfloat16",
        "rates": (),
    }
    config.average = {"decay": 0.0}
    config.sharpness = {"rho_max": 0.0, "rho_min": 0.0, "alpha": 0.0}
    config.checkpoint = {"every": 500 if small else 5_000, "keep_last": 2, "keep_best": 1}
    config.log = {"every": 50 if small else 100, "tensorboard": True}
    config.profile = {"first_step": 10, "steps": 0}
    config.mesh = {"data": -1}
    config.threads = 2 if small else 16
    config.processes = 0
    return config
