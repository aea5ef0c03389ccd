"""Models of other formats, written for transformers: its own classes load them strictly and compute the same."""

import dataclasses

import jax
import numpy as np
import proof
import pytest

from vit_jax import models
from vit_jax.weights import files, formats, references
from vit_jax.weights.loaded import Loaded
from vit_jax.weights.recipe import Recipe

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
SIZE = {"width": 16, "depth": 2, "mlp_hidden": 32, "heads": 2, "patch": [4, 4]}
RECIPE = Recipe(
    model={},
    image_size=(16, 16),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    preprocess={"kind": "squash"},
    loss="softmax",
    class_names=(),
    position_resize="linear",
    source="",
    origin={"format": "elsewhere"},
)
DINOV2 = {"layer_scale": 0.1, "activation": "gelu_exact"}


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("ViTForImageClassification", {}),
        ("ViTForImageClassification", {"image_size": (12, 20), "attention_bias": "none"}),
        ("ViTForImageClassification", {"positions": "learned_patches"}),
        ("ViTModel", {"classes": 0, "pre_logits": 20}),
        ("DeiTForImageClassification", {"distillation_token": True, "norm_epsilon": 1e-3}),
        ("DeiTForImageClassificationWithTeacher", {"distillation_token": True, "pool": "distilled"}),
        ("Dinov2ForImageClassification", DINOV2),
        ("Dinov2ForImageClassification", DINOV2 | {"pool": "mean", "class_token": True, "attention_bias": "none"}),
        ("Dinov2ForImageClassification", DINOV2 | {"pool": "class_token_and_mean", "positions": "learned_patches"}),
        (
            "Dinov2WithRegistersForImageClassification",
            DINOV2 | {"registers": 3, "mlp": "swiglu", "activation": "silu", "size": SIZE | {"mlp_hidden": 24}},
        ),
        (
            "DINOv3ViTModel",
            {"classes": 0, "layer_scale": 0.1, "positions": "none", "rotary": "dinov3", "mlp": "swiglu"},
        ),
        ("SiglipVisionModel", {"classes": 0, "pool": "map"}),
        ("SiglipForImageClassification", {"pool": "mean", "positions": "learned_patches"}),
        (
            "CLIPVisionModel",
            {"classes": 0, "norm_embedded": True, "patch_bias": False, "activation": "gelu_quick"},
        ),
        (
            "CLIPVisionModel",
            {
                "classes": 0,
                "norm_embedded": True,
                "patch_bias": False,
                "norm_last": "features",
                "activation": "gelu_quick",
            },
        ),
    ],
)
def test_a_model_from_elsewhere_computes_the_same_there(architecture, options, tmp_path):
    options = {"size": SIZE, "classes": 7, **options}
    image_size = options.pop("image_size", (16, 16))
    random = np.random.default_rng(4)
    parameters = models.initial(models.build(**options), jax.random.key(0), image_size)
    parameters = jax.tree_util.tree_map_with_path(
        lambda path, leaf: proof.redrawn(random, jax.tree_util.keystr(path, simple=True, separator="."), leaf.shape),
        parameters,
    )
    mine = Loaded(parameters, dataclasses.replace(RECIPE, model=options, image_size=image_size))
    file = formats.save(mine, "huggingface")
    assert file.config["architectures"] == [architecture]
    files.write(file, tmp_path / "there")
    images = proof.images(image_size)
    wanted = references.activations(str(tmp_path / "there"), "huggingface", images)
    assert proof.difference(proof.activations(mine, images), wanted) <= proof.TOLERANCE
    again = formats.load(files.read(tmp_path / "there"))
    assert proof.difference(proof.activations(again, images), wanted) <= proof.TOLERANCE
