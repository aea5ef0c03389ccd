"""timm's checkpoints, as far as `tests/parity` and its golden arrays do not prove them: configs, names, refusals."""

import dataclasses

import jax
import numpy as np
import pytest

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts, sizes
from vit_jax.weights import formats, timm
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.timm import architectures

SIZE = {"width": 24, "depth": 2, "mlp_hidden": 40, "heads": 4, "patch": [4, 4]}
SMALL = {"embed_dim": 24, "depth": 2, "mlp_ratio": 40 / 24, "num_heads": 4, "patch_size": 4}
# As timm/vit_base_patch16_224.augreg_in21k on its Hub has it, the numbers made small, with labels.
CONFIG = {
    "architecture": "vit_base_patch16_224",
    "num_classes": 3,
    "num_features": 24,
    "global_pool": "token",
    "model_args": SMALL,
    "label_names": ["n01440764", "n01443537", "n01484850"],
    "label_descriptions": {"n01440764": "tench", "n01484850": "great white shark"},
    "pretrained_cfg": {
        "tag": "augreg_in21k",
        "custom_load": True,
        "input_size": [3, 16, 24],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.4],
        "num_classes": 3,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        "license": "apache-2.0",
    },
}


def vit(width=24, depth=2, hidden=40, patch=4, tokens=25, classes=3, **others):
    """Returns arrays of timm's shapes, all zeros, that take no memory."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        **norm("norm", width),
        **(dense("head", width, classes) if classes else {}),
    }
    for block in (f"blocks.{number}" for number in range(depth)):
        shapes |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        shapes |= dense(f"{block}.attn.qkv", width, 3 * width) | dense(f"{block}.attn.proj", width, width)
        shapes |= dense(f"{block}.mlp.fc1", width, hidden) | dense(f"{block}.mlp.fc2", hidden, width)
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in (shapes | others).items()}


def dense(name, width, features):
    return {f"{name}.weight": (features, width), f"{name}.bias": (features,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def from_elsewhere(image_size=(16, 16), **options):
    """Returns weights, and a recipe that nothing of timm's is in."""
    model = models.build(size=SIZE, classes=3, **options)
    recipe = Recipe(
        model={"size": SIZE, "classes": 3, "pool": "class_token", **options},
        image_size=image_size,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        preprocess={"kind": "squash"},
        loss="softmax",
        class_names=("a", "b", "c"),
        position_resize="linear",
        source="elsewhere",
    )
    return Loaded(zeros(model, image_size), recipe)


def zeros(model, image_size):
    """Returns parameters of the model, all zeros."""
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), counts.shapes(model, image_size))


def test_a_config_tells_the_recipe():
    recipe = formats.load(File(vit(), CONFIG, place="timm_base/model.safetensors")).recipe
    assert recipe.model == {
        **{"size": SIZE, "classes": 3, "pool": "class_token", "class_token": True, "positions": "learned"},
        **{"activation": "gelu_exact", "norm_epsilon": 1e-6, "rotary": "none"},
    }
    assert (recipe.mean, recipe.std, recipe.image_size) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.4), (16, 24))
    assert recipe.preprocess == {"kind": "resize_crop", "crop_ratio": 0.9, "resample": "bicubic"}
    assert (recipe.license, recipe.loss, recipe.position_resize) == ("apache-2.0", "softmax", "cubic")
    assert recipe.class_names == ("tench", "n01443537", "great white shark")
    assert recipe.source == "timm_base"


def test_an_architecture_and_a_tag_are_config_enough():
    config = {"architecture": "vit_base_patch16_224.mae", "model_args": SMALL | {"img_size": [16, 24]}}
    recipe = timm.load(File(vit(classes=0), config)).recipe
    assert recipe.mean == (0.485, 0.456, 0.406) and recipe.license == "cc-by-nc-4.0" and recipe.image_size == (16, 24)
    assert recipe.model["classes"] == 0 and recipe.loss == ""


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"act_layer": "gelu_tanh"}, {"activation": "gelu_tanh"}),
        ({"act_layer": "quick_gelu"}, {"activation": "gelu_quick"}),
        ({"global_pool": "avg", "fc_norm": False}, {"pool": "mean"}),
        ({"global_pool": ""}, {"pool": "none"}),
    ],
)
def test_arguments_change_what_no_array_tells(arguments, option):
    config = CONFIG | {"model_args": SMALL | arguments}
    assert option.items() <= timm.load(File(vit(), config)).recipe.model.items()


@pytest.mark.parametrize(
    ("changes", "arrays", "message"),
    [
        ({}, {"blocks.0.attn.relative_position_bias_table": (9, 4)}, "relative position biases, as BEiT"),
        ({"architecture": "beit_base_patch16_224"}, {}, '"beit_base_patch16_224" is none of the 178 architectures'),
        ({"architecture": "vit_base_patch16_22"}, {}, 'did you mean "vit_base_patch16_224"?'),
        ({"architecture": "vit_base_patch16_clip_224.openai"}, {}, "norm_embedded came False, wanted True"),
        ({"num_classes": 5}, {}, "classes came 3, wanted 5"),
        ({"model_args": SMALL | {"scale_attn_norm": True}}, {}, "model_args that are not read here: scale_attn_norm"),
        ({"model_args": SMALL | {"global_pool": "avgmax"}}, {}, 'unknown global_pool "avgmax"'),
        ({"model_args": 5}, {}, "config.json is not as timm writes it"),
        ({"model_args": {}}, {}, "depth came 2, wanted 12, mlp_hidden came 40, wanted 3072, width came 24"),
        ({"model_args": SMALL | {"num_heads": "4"}}, {}, "num_heads of config.json is a whole number; got '4'"),
        ({"model_args": SMALL | {"img_size": "16"}}, {}, "img_size of config.json is a whole number; got '1'"),
        ({"pretrained_cfg": {"crop_mode": "border"}}, {}, 'unknown crop_mode "border"'),
        ({}, {"norm3.weight": (24,)}, "unknown: norm3.weight"),
    ],
)
def test_what_is_not_expressed_here_is_said_in_a_line(changes, arrays, message):
    with pytest.raises(UserError, match=".*") as caught:
        timm.load(File(vit(**arrays), CONFIG | changes))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_fine_tuned_weights_get_a_config_of_their_own():
    loaded = formats.load(File(vit(), CONFIG))
    model, recipe = loaded.recipe.model | {"classes": 2}, loaded.recipe
    tuned = dataclasses.replace(recipe, model=model, image_size=(24, 24), class_names=("cat", "dog"))
    file = timm.save(Loaded(zeros(models.build(**model), (24, 24)), tuned))
    assert file.config["architecture"] == "vit_base_patch16_224" and file.config["label_names"] == ["cat", "dog"]
    wanted = SMALL | {"img_size": [24, 24], "num_classes": 2}
    assert file.config["num_classes"] == 2 and file.config["model_args"] == wanted
    assert file.config["pretrained_cfg"]["input_size"] == [3, 24, 24]
    assert file.config["pretrained_cfg"]["tag"] == "augreg_in21k"
    assert {name: array.shape for name, array in file.arrays.items()} == {
        name: array.shape for name, array in vit(tokens=37, classes=2).items()
    }


@pytest.mark.parametrize(("kind", "crop"), [("squash", 1.0), ("resize_crop", 0.875)])
def test_what_a_preprocess_leaves_unsaid_is_written_as_its_kind_takes_it(kind, crop):
    loaded = formats.load(File(vit(), CONFIG))
    recipe = dataclasses.replace(loaded.recipe, preprocess={"kind": kind})
    given = timm.save(dataclasses.replace(loaded, recipe=recipe)).config["pretrained_cfg"]
    assert (given["interpolation"], given["crop_pct"]) == ("bilinear", crop)


def clip(classes):
    """Returns arrays of OpenAI's CLIP."""
    arrays = vit(classes=classes, **norm("norm_pre", 24))
    del arrays["patch_embed.proj.bias"]
    return arrays


@pytest.mark.parametrize(
    ("name", "arrays", "loss"),
    [
        ("vit_base_patch16_224.augreg_in21k", vit(classes=21_843), "sigmoid"),  # as Google's own file of them has it
        ("vit_base_patch32_clip_224.openai", clip(512), ""),  # a projection
        ("vit_base_patch32_clip_224.openai", clip(5), "softmax"),  # fine-tuned
        ("vit_base_patch32_clip_224.openai_ft_in1k", clip(1000), "softmax"),
        ("vit_base_patch32_clip_224", clip(512), "softmax"),  # of whom nothing is known
    ],
)
def test_what_a_head_was_trained_with_is_known_by_the_tag(name, arrays, loss):
    classes = len(arrays["head.weight"])
    config = {"architecture": name, "num_classes": classes, "model_args": SMALL | {"img_size": [16, 24]}}
    assert timm.load(File(arrays, config)).recipe.loss == loss


def test_the_last_norm_of_a_class_token_is_named_as_timm_has_it():
    file = timm.save(from_elsewhere(norm_last="features", activation="gelu_exact"))
    assert {"norm.weight", "norm.bias"} <= file.arrays.keys() and "fc_norm.weight" not in file.arrays
    assert "fc_norm" not in file.config["model_args"]


def test_weights_from_elsewhere_go_under_the_nearest_architecture():
    config = timm.save(from_elsewhere(activation="gelu_tanh", class_token=True)).config
    assert config["architecture"].startswith("vit_")
    assert config["model_args"]["act_layer"] == "gelu_tanh" and config["model_args"]["num_heads"] == 4
    assert config["pretrained_cfg"]["crop_mode"] == "squash"

    size = sizes.by_name("B/16")
    b16 = {"size": sizes.numbers_of(size), "activation": "gelu_exact"}
    assert architectures.closest(b16, (224, 224)) == (architectures.named("vit_base_patch16_224"), {})
    assert architectures.closest(b16, (384, 384))[0].name == "vit_base_patch16_384"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm_epsilon": 1e-12}, "timm has no architecture with norm_epsilon 1e-12"),
        ({"pre_logits": 8}, "timm has no architecture with pre_logits 8"),
        ({"positions": "sincos2d"}, "timm has no architecture with positions 'sincos2d'"),
    ],
)
def test_what_timm_cannot_hold_is_said(options, message):
    with pytest.raises(UserError) as caught:
        timm.save(from_elsewhere(**options))
    assert message in str(caught.value) and "\n" not in str(caught.value)


# Counted on timm's own models, with the classes that they have by default (timm 1.0.31).
COUNTS = {
    "vit_base_patch16_224": (1000, 86_567_656),
    "deit_base_distilled_patch16_224": (1000, 87_338_192),
    "vit_tiny_r_s16_p8_224": (1000, 6_337_704),
    "vit_small_patch14_reg4_dinov2": (0, 22_057_344),
    "vit_small_plus_patch16_dinov3": (0, 28_683_264),
    "vit_base_patch16_siglip_224": (0, 92_884_224),
    "eva02_tiny_patch14_336": (1000, 5_756_584),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_rows_of_the_data_file_build_the_models(name):
    classes, parameters = COUNTS[name]
    model = architectures.named(name)
    built = models.build(**model.options, classes=classes)
    assert counts.parameters(built, model.image_size) == parameters


def test_every_published_tag_is_of_an_architecture():
    names = [row["name"] for row in architectures.tags()]
    assert len(names) == len(set(names)) == 345
    assert {name.partition(".")[0] for name in names} <= architectures.architectures().keys()
    assert architectures.published("vit_small_patch14_dinov2", "lvd142m")["input_size"] == [3, 518, 518]


def dinov2(registers=0):
    """Returns facebookresearch's ViT-S/14: blocks in chunks of three, a mask token."""
    arrays = vit(384, 12, 1536, 14, 1370, 0, mask_token=(1, 384))
    for number in range(12):
        arrays |= {f"blocks.{number}.ls{half}.gamma": np.ones(384, np.float32) for half in (1, 2)}
    if registers:
        arrays["register_tokens"] = np.zeros((1, registers, 384), np.float32)
        arrays["cls_token"], arrays["pos_embed"] = np.ones((1, 1, 384), np.float32), np.ones((1, 1370, 384), np.float32)
    chunked = {}
    for name, array in arrays.items():
        number = name.split(".")[1] if name.startswith("blocks.") else ""
        chunked[name.replace("blocks.", f"blocks.{int(number) // 3}.") if number else name] = array
    return chunked


def test_a_file_of_dinov2_without_a_config_is_known_by_its_arrays():
    loaded = timm.load(File(dinov2(), place="dinov2_vits14_pretrain.pth"))
    assert loaded.recipe.origin["architecture"] == "vit_small_patch14_dinov2"
    assert loaded.recipe.model["size"]["heads"] == 6 and loaded.recipe.image_size == (518, 518)
    assert loaded.recipe.mean == (0.485, 0.456, 0.406) and loaded.recipe.license == "apache-2.0"
    assert loaded.recipe.position_resize == "cubic_torch_offset"
    assert loaded.recipe.source == "dinov2_vits14_pretrain.pth"


def test_the_class_token_of_dinov2_with_registers_takes_its_position_up():
    loaded = timm.load(File(dinov2(registers=4), place="dinov2_vits14_reg4_pretrain.pth"))
    assert loaded.recipe.origin["architecture"] == "vit_small_patch14_reg4_dinov2"
    assert loaded.recipe.model["registers"] == 4 and loaded.recipe.model["positions"] == "learned_patches"
    np.testing.assert_array_equal(loaded.parameters["class_token"], 2)
    assert loaded.recipe.position_resize == "cubic"


def test_the_decoder_of_a_masked_autoencoder_tells_whose_it_is():
    arrays = vit(768, 12, 3072, 16, 197, 0)
    decoder = {"mask_token": (1, 1, 512), "decoder_blocks.0.norm1.weight": (512,), "decoder_pred.weight": (768, 512)}
    decoder = {name: np.zeros(shape, np.float32) for name, shape in decoder.items()}
    recipe = timm.load(File(arrays | decoder, place="mae_visualize_vit_base.pth")).recipe
    assert recipe.origin["kept"] == {"tag": "mae"} and recipe.license == "cc-by-nc-4.0"
    with pytest.raises(UserError, match=r"could be those of .*vit_base_patch16_224\.dino.* place a config\.json"):
        timm.load(File(arrays, place="mae_pretrain_vit_base.pth"))
    named = timm.load(File(arrays, {"architecture": "vit_base_patch16_224.mae"}, place="mae_pretrain_vit_base.pth"))
    assert named.recipe == dataclasses.replace(recipe, source=named.recipe.source)


def test_dino_is_known_by_its_size_and_its_teacher_by_a_prefix(caplog):
    arrays = {f"module.backbone.{name}": array for name, array in vit(384, 12, 1536, 8, 785, 0).items()}
    recipe = timm.load(
        File(arrays | {"module.head.mlp.0.weight": np.zeros((8, 384), np.float32)}, place="x.pth")
    ).recipe
    assert "x.pth: only the encoder is read, not module.head.mlp.0.weight" in caplog.text
    assert recipe.origin["architecture"] == "vit_small_patch8_224" and recipe.position_resize == "cubic_torch_offset"


def test_arrays_of_no_published_size_ask_for_a_config():
    with pytest.raises(UserError, match=r"no config\.json, and no published weights .* have its arrays; place a"):
        formats.load(File(vit(), place="mine.pth"))
