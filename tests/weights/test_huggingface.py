"""transformers' files: what parity's goldens do not cover. Names of arrays are written out as they lie on disk."""

import dataclasses
import json
import logging

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.weights import files, formats, huggingface
from vit_jax.weights.files import File
from vit_jax.weights.huggingface import configs, families, preprocessors
from vit_jax.weights.loaded import Loaded

LAYER = {
    **{f"attention.attention.{name}.weight": (8, 8) for name in ("query", "key", "value")},
    **{f"attention.attention.{name}.bias": (8,) for name in ("query", "key", "value")},
    **{"attention.output.dense.weight": (8, 8), "attention.output.dense.bias": (8,)},
    **{"intermediate.dense.weight": (12, 8), "intermediate.dense.bias": (12,)},
    **{"output.dense.weight": (8, 12), "output.dense.bias": (8,)},
    **{f"layernorm_{name}.{leaf}": (8,) for name in ("before", "after") for leaf in ("weight", "bias")},
}
VIT = {
    "classifier.weight": (3, 8),
    "classifier.bias": (3,),
    "vit.embeddings.cls_token": (1, 1, 8),
    "vit.embeddings.position_embeddings": (1, 7, 8),
    "vit.embeddings.patch_embeddings.projection.weight": (8, 3, 4, 4),
    "vit.embeddings.patch_embeddings.projection.bias": (8,),
    "vit.layernorm.weight": (8,),
    "vit.layernorm.bias": (8,),
    **{f"vit.encoder.layer.0.{name}": shape for name, shape in LAYER.items()},
}
CONFIG = {"model_type": "vit", "num_attention_heads": 2, "image_size": [8, 12]}
SIZE = {"width": 16, "depth": 1, "mlp_hidden": 24, "heads": 2, "patch": [4, 4]}


CLIP = {"classes": 0, "norm_embedded": True, "patch_bias": False}
DINOV3 = {"classes": 0, "positions": "none", "rotary": "dinov3", "registers": 2, "layer_scale": 0.1}


def drawn(shapes, dtype=np.float32):
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def vit(config=None, preprocessor=None, more=None, dtype=np.float32, place=""):
    arrays = drawn(VIT | (more or {}), dtype)
    return File(arrays, CONFIG | (config or {}), preprocessor or {}, place=place)


def loaded(image_size=(8, 8), **options):
    """Weights of another format, every array drawn."""
    model = models.build(**{"size": SIZE, "classes": 3, **options})
    parameters = models.initial(model, jax.random.key(0), image_size)
    random = np.random.default_rng(1)
    parameters = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), parameters)
    recipe = dataclasses.replace(
        formats.load(vit()).recipe,
        model={"size": SIZE, "classes": 3, **options},
        image_size=image_size,
        origin={"format": "elsewhere"},
    )
    return Loaded(parameters, recipe)


# --- config.json


@pytest.mark.parametrize(
    ("model_type", "activation", "epsilon", "heads", "resize"),
    [
        ("vit", "gelu_exact", 1e-12, 12, "cubic_torch"),
        ("deit", "gelu_exact", 1e-12, 12, "cubic_torch"),
        ("vit_mae", "gelu_exact", 1e-12, 12, "cubic_torch"),
        ("dinov2", "gelu_exact", 1e-6, 12, "cubic_torch"),
        ("dinov2_with_registers", "gelu_exact", 1e-6, 12, "cubic"),
        ("dinov3_vit", "gelu_exact", 1e-5, 6, "cubic_torch"),
        ("clip", "gelu_quick", 1e-5, 12, "cubic_torch"),
        ("clip_vision_model", "gelu_quick", 1e-5, 12, "cubic_torch"),
        ("siglip", "gelu_tanh", 1e-6, 12, "cubic_torch"),
        ("siglip_vision_model", "gelu_tanh", 1e-6, 12, "cubic_torch"),
    ],
)
def test_what_a_config_leaves_out_is_what_transformers_takes(model_type, activation, epsilon, heads, resize):
    _, family = families.of(model_type)
    found = configs.settings({"model_type": model_type}, family)
    assert families.ACTIVATIONS[found["hidden_act"]] == activation
    assert (found["layer_norm_eps"], found["num_attention_heads"], found["image_size"]) == (epsilon, heads, 224)
    assert family.position_resize == resize


def test_a_config_is_believed():
    recipe = formats.load(vit({"hidden_act": "quick_gelu", "layer_norm_eps": 1e-3})).recipe
    assert (recipe.model["activation"], recipe.model["norm_epsilon"]) == ("gelu_quick", 1e-3)
    assert (recipe.model["size"]["heads"], recipe.model["classes"], recipe.loss) == (2, 3, "softmax")
    assert recipe.image_size == (8, 12)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "beit"}, '"beit" is not read here; those that are: vit, '),
        ({"model_type": "swin"}, '"swin" is not read here'),
        ({"model_type": "siglip2"}, "NaFlex.* fixed resolution, whose model type is"),
        ({"model_type": "siglip2_vision_model"}, "NaFlex"),
        ({"hidden_act": "relu"}, 'unknown hidden_act "relu"'),
        ({"pooler_act": "relu"}, 'pooler_act "relu"'),
        ({"model_type": "dinov3_vit", "rope_theta": 10_000.0}, "rope_theta 100 here; got 10000"),
        ({"model_type": ["vit"]}, "is not read here"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps of config.json is a number; got 'small'"),
        ({"num_attention_heads": None}, "num_attention_heads of config.json is a whole number; got None"),
        ({"image_size": "224"}, r"is a number of pixels, or \[height, width\]; got '224'"),
        ({"image_size": [8, 0]}, "is a number of pixels"),
        ({"id2label": {"first": "a"}}, "id2label of config.json has a name for each number"),
        ({"model_type": "clip", "vision_config": None}, "of another shape|unknown"),
        ({"num_attention_heads": 3}, "of another shape: .*attention.query.weight"),
        ({"image_size": 8}, "which is not the grid of 2x2"),
        ({"hidden_size": 16}, "config.json is that of another model: it says hidden_size 16, the arrays 8"),
        (
            {"num_hidden_layers": 2, "intermediate_size": 8},
            "num_hidden_layers 2, the arrays 1; intermediate_size 8, ",
        ),
    ],
)
def test_what_no_model_here_does_is_one_line(config, message):
    with pytest.raises(UserError, match=message) as raised:
        formats.load(vit(config))
    assert "\n" not in str(raised.value)


def test_an_array_that_has_no_place_is_named():
    with pytest.raises(UserError, match="unknown: lora.down, lora.up"):
        formats.load(vit(more={"lora.up": (2, 8), "lora.down": (8, 2)}))


def test_patches_that_do_not_cover_the_image_leave_a_rest():
    assert configs.covered(384, (14, 14)) == (378, 378)  # google/siglip-so400m-patch14-384
    assert configs.covered([224, 300], (16, 16)) == (224, 288)
    file = vit({"image_size": [9, 15]})
    recipe = formats.load(file).recipe
    assert recipe.image_size == (8, 12)
    assert huggingface.save(formats.load(file)).config["image_size"] == [9, 15]


def test_class_names_are_those_of_the_config():
    names = {"10": "c", "2": "b", "0": "a"}  # in the order of the numbers, not of the words
    assert formats.load(vit({"id2label": names})).recipe.class_names == ("a", "b", "c")
    assert formats.load(vit({"id2label": {str(i): f"LABEL_{i}" for i in range(3)}})).recipe.class_names == ()
    assert formats.load(vit({"id2label": {"0": "a"}})).recipe.class_names == ()


def test_what_is_left_aside_is_said(caplog):
    more = {"decoder.0.weight": (4, 8, 1, 1), "vit.embeddings.mask_token": (1, 1, 8)}
    with caplog.at_level(logging.WARNING):
        parameters = formats.load(vit(more=more)).parameters
    assert "the decoder (2 arrays) is left aside" in caplog.text
    assert set(parameters) == {"patch_embedding", "class_token", "positions", "encoder", "head"}


def test_buffers_of_old_files_are_passed_over():
    file = vit()
    arrays = {**file.arrays, "vit.embeddings.position_ids": np.arange(7)}
    assert formats.load(dataclasses.replace(file, arrays=arrays)).recipe.model["classes"] == 3


# --- preprocessor_config.json

SQUARE = {"height": 224, "width": 224}


@pytest.mark.parametrize(
    ("model_type", "given", "wanted"),
    [
        ("vit", {}, {"kind": "squash", "resample": "bilinear", "crop_ratio": 1.0}),
        ("vit", {"size": 224, "resample": 3}, {"kind": "squash", "resample": "bicubic", "crop_ratio": 1.0}),
        ("vit", {"size": SQUARE, "crop_pct": 0.9}, {"kind": "resize_crop", "resample": "bilinear", "crop_ratio": 0.9}),
        ("deit", {}, {"kind": "squash", "resample": "bicubic", "crop_ratio": 0.875}),
        ("deit", {"size": 256, "crop_size": 224}, {"kind": "squash", "resample": "bicubic", "crop_ratio": 0.875}),
        ("dinov2", {}, {"kind": "resize_crop", "resample": "bicubic", "crop_ratio": 0.875}),
        ("clip", {"size": 224, "crop_size": 224}, {"kind": "resize_crop", "resample": "bicubic", "crop_ratio": 1.0}),
        ("siglip", {}, {"kind": "squash", "resample": "bicubic", "crop_ratio": 1.0}),
    ],
)
def test_images_are_cut_as_there(model_type, given, wanted):
    published = families.of(model_type)[1].preprocessor
    found = preprocessors.read(given, published)
    assert found["preprocess"] == wanted
    recipe = dataclasses.replace(formats.load(vit()).recipe, image_size=(224, 224), **found)
    back = preprocessors.read(preprocessors.written(recipe, published), published)
    assert back["preprocess"].pop("crop_ratio") == pytest.approx(wanted["crop_ratio"], abs=1 / 224)  # in whole pixels
    assert back["preprocess"] == {key: wanted[key] for key in ("kind", "resample")}


@pytest.mark.parametrize(
    ("given", "mean", "std"),
    [
        ({}, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ({"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 2]}, (0.1, 0.2, 0.3), (1, 1, 2)),
        ({"do_normalize": False}, (0, 0, 0), (1, 1, 1)),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]}, (0.5,) * 3, (0.5,) * 3),
    ],
)
def test_values_are_as_there(given, mean, std):
    recipe = formats.load(vit(preprocessor=given)).recipe
    np.testing.assert_allclose((recipe.mean, recipe.std), (mean, std), rtol=1e-15)


@pytest.mark.parametrize(
    "given", [{"resample": 1}, {"size": {"longest_edge": 3}}, {"image_std": 0.5}, {"rescale_factor": 0}, {"size": "s"}]
)
def test_a_preprocessor_that_is_not_understood_is_one_line(given):
    with pytest.raises(UserError, match="is not understood .*; wanted a size, and a resample in 2, 3") as raised:
        formats.load(vit(preprocessor={"do_center_crop": True, "crop_size": 8} | given))
    assert "\n" not in str(raised.value)


def test_a_preprocessor_comes_back_as_it_came_and_anew_for_another_size():
    came = {"size": {"height": 8, "width": 12}, "do_flip": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    mine = formats.load(vit(preprocessor=came))
    assert huggingface.save(mine).preprocessor == came
    other = dataclasses.replace(mine, recipe=dataclasses.replace(mine.recipe, mean=(0.1, 0.2, 0.3)))
    assert huggingface.save(other).preprocessor["image_mean"] == [0.1, 0.2, 0.3]


# --- dtypes


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_narrow_floats_come_back_bit_for_bit_unless_they_have_learned(dtype):
    file = vit(dtype=dtype)
    mine = formats.load(file)
    flat = flatten_dict(mine.parameters, sep="/")
    assert {array.dtype for array in flat.values()} == {np.dtype(np.float32)}
    back = huggingface.save(mine)
    assert {name: array.tobytes() for name, array in back.arrays.items()} == {
        name: array.tobytes() for name, array in file.arrays.items()
    }
    assert back.config["dtype"] == np.dtype(dtype).name
    mine.parameters["head"]["kernel"] += np.float32(1e-5)
    learned = huggingface.save(mine)
    np.testing.assert_array_equal(learned.arrays["classifier.weight"], mine.parameters["head"]["kernel"].T)
    assert (learned.arrays["classifier.bias"].dtype, learned.config["dtype"]) == (np.dtype(dtype), "float32")


# --- the card


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\ntags:\n- vision\n---\n# A model\n", "apache-2.0"),
        ("---\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: dinov3-license\n---\n", "dinov3-license"),
        ("---\nlicense_name: mine\nlicense: other\n---\n", "mine"),
        ("---\nlicense: other\n---\n", "other"),
        ("# A model\nlicense: none of it\n---\nlicense: mit\n---\n", ""),
        ("---\ntags: x\n---\nlicense: mit\n", ""),
    ],
)
def test_the_license_is_the_cards(tmp_path, card, found):
    (tmp_path / "README.md").write_bytes(card.encode())
    recipe = formats.load(vit(place=str(tmp_path / "model.safetensors"))).recipe
    assert (recipe.license, recipe.source) == (found, tmp_path.name)


# --- out


def test_a_folder_holds_what_transformers_reads(tmp_path):
    file = vit({"id2label": {"0": "ä", "1": "b", "2": "c"}})
    files.write(formats.save(formats.load(file), "huggingface"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["ViTForImageClassification"]
    assert (config["id2label"]["0"], config["label2id"]) == ("ä", {"ä": 0, "b": 1, "c": 2})
    assert (config["image_size"], config["patch_size"], config["hidden_act"]) == ([8, 12], 4, "gelu")
    again = formats.load(files.read(tmp_path / "out"))
    assert again.recipe.class_names == ("ä", "b", "c")
    jax.tree.map(np.testing.assert_array_equal, again.parameters, formats.load(file).parameters)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "architecture"),
    [
        ({"activation": "gelu_tanh"}, "ViTForImageClassification"),
        ({"classes": 0, "pre_logits": 20}, "ViTModel"),
        ({"pool": "distilled", "distillation_token": True}, "DeiTForImageClassificationWithTeacher"),
        ({"layer_scale": 0.1, "size": SIZE | {"mlp_hidden": 32}}, "Dinov2ForImageClassification"),
        ({"pool": "map", "classes": 0}, "SiglipVisionModel"),
        (CLIP, "CLIPVisionModel"),
        (CLIP | {"norm_last": "features"}, "CLIPVisionModel"),
        ({"pool": "mean"}, "SiglipForImageClassification"),
    ],
)
def test_weights_from_elsewhere_find_their_class_and_come_back(options, architecture, tmp_path):
    mine = loaded(**options)
    file = formats.save(mine, "huggingface")
    assert file.config["architectures"] == [architecture]
    files.write(file, tmp_path / "out")
    again = formats.load(files.read(tmp_path / "out"))
    images = jax.random.normal(jax.random.key(2), (2, 8, 8, 3))
    logits = [
        models.apply(models.build(**one.recipe.model), jax.tree.map(jnp.asarray, one.parameters), images)
        for one in (mine, again)
    ]
    np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qk_norm": True}, "vit does not: .*norm_key"),
        ({"pool": "map"}, 'vit does not: none of its classes .* has a head on pool "map"'),
        ({"pre_logits": 8}, "vit does not: .*pre_logits"),
        ({"layer_scale": 0.1, "image_size": (8, 12), "size": SIZE | {"mlp_hidden": 32}}, "scale_attention"),
        ({"attention_bias": "qv"}, "vit does not: its attention has biases none or qkv, and this one qv"),
        ({"positions": "sincos2d"}, "positions sincos2d would be none"),
        (CLIP | {"pool": "mean"}, 'clip_vision_model does not: .* has the features of pool "mean"'),
        (
            CLIP | {"pool": "mean", "classes": 3},
            'clip_vision_model does not: .* has a head on pool "mean"',
        ),
        (DINOV3 | {"pool": "mean", "class_token": True}, 'dinov3_vit does not: .* has the features of pool "mean"'),
    ],
)
def test_what_transformers_cannot_hold_is_one_line(options, message):
    with pytest.raises(UserError, match=message) as raised:
        formats.save(loaded(**options), "huggingface")
    assert "\n" not in str(raised.value)
