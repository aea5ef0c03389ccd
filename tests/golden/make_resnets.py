"""Makes hybrid.npz, hybrid_root.npz and bit.npz: timm's tiny ResNets, run in float64, every tensor redrawn.

Each file holds
  weights/NAME    the weights under the names and in the shapes of the files that Google published;
  images          (batch, height, width, channels);
  KIND/logits     what timm computes, KIND being "timm" (its own epsilons) or "bit" (that of BiT's own code);
  timm/block00, timm/stage1/unit01, …   what comes out of a block, and out of a unit for the first image alone.
hybrid_root.npz has a stem of the root alone below patches of 2x2, as R+Ti/16 has below 8x8.

Run with the packages of the `parity` extra, torchvision or not: python tests/golden/make_resnets.py
"""

import pathlib
from functools import partial

import make_timm  # first: mocks stand in for torchvision there
import numpy as np
from timm.layers import HybridEmbed, StdConv2d, StdConv2dSame
from timm.models.resnetv2 import ResNetV2, create_resnetv2_stem
from timm.models.vision_transformer import VisionTransformer

from vit_jax.weights.references import timm as reference

UNITS, WIDTH, SIDE = (2, 1), 32, 32
EPSILONS = {"timm": 1e-8, "bit": 1e-10}


def stem(units):
    """Returns timm's post-activated ResNet."""
    conv = partial(StdConv2dSame, eps=EPSILONS["timm"])
    if not units:
        return create_resnetv2_stem(3, WIDTH, "same", preact=False, conv_layer=conv)
    channels = tuple(4 * WIDTH * 2**stage for stage in range(len(units)))
    options = {"num_classes": 0, "global_pool": "", "preact": False, "stem_type": "same", "stem_chs": WIDTH}
    return ResNetV2(units, channels, conv_layer=conv, **options)


def hybrid(units, patch):
    """Returns timm's Vision Transformer on that ResNet."""
    return VisionTransformer(
        img_size=SIDE,
        patch_size=patch,
        num_classes=make_timm.CLASSES,
        embed_dim=make_timm.WIDTH,
        depth=make_timm.DEPTH,
        num_heads=make_timm.HEADS,
        mlp_ratio=make_timm.MLP_HIDDEN / make_timm.WIDTH,
        embed_layer=partial(HybridEmbed, backbone=stem(units)),
    )


def bit(kind):
    """Returns timm's pre-activated ResNet."""
    channels = tuple(4 * WIDTH * 2**stage for stage in range(len(UNITS)))
    conv = partial(StdConv2d, eps=EPSILONS[kind])
    return ResNetV2(UNITS, channels, make_timm.CLASSES, stem_chs=WIDTH, stem_type="fixed", conv_layer=conv)


def redraw(random, shape, name):
    """Returns values of half precision, to be small on disk; kernels are so small that their epsilon shows."""
    values = make_timm.redraw(random, shape, name)
    if len(shape) == 4 and "proj" not in name and "head" not in name:
        values = 0.003 * values / values.std()
    return values.half().double()


def kernel(tensor):
    """Returns a kernel with Google's order of axes."""
    return tensor.permute(2, 3, 1, 0).numpy().astype(np.float32)


def named(state, theirs, google):
    """Returns the scale and bias of a norm of timm's under Google's names, in the shape that they had there."""
    return {
        f"{google}/scale": state[f"{theirs}.weight"].numpy().astype(np.float32)[None, None, None],
        f"{google}/bias": state[f"{theirs}.bias"].numpy().astype(np.float32)[None, None, None],
    }


def google_hybrid(state, units, heads=make_timm.HEADS):
    """Returns the state of a hybrid under the names of gs://vit_models."""
    theirs = "patch_embed.backbone." + ("stem." if units else "")
    arrays = make_timm.google(state, heads) | {"conv_root/kernel": kernel(state[f"{theirs}conv.weight"])}
    arrays |= named(state, f"{theirs}norm", "gn_root")
    for stage, count in enumerate(units):
        for unit in range(count):
            theirs = f"patch_embed.backbone.stages.{stage}.blocks.{unit}."
            google = f"block{stage + 1}/unit{unit + 1}/"
            for number in (1, 2, 3):
                arrays[f"{google}conv{number}/kernel"] = kernel(state[f"{theirs}conv{number}.weight"])
                arrays |= named(state, f"{theirs}norm{number}", f"{google}gn{number}")
            if unit == 0:
                arrays[f"{google}conv_proj/kernel"] = kernel(state[f"{theirs}downsample.conv.weight"])
                arrays |= named(state, f"{theirs}downsample.norm", f"{google}gn_proj")
    return arrays


def google_bit(state, units):
    """Returns the state of a BiT under the names of gs://bit_models."""

    def norm(theirs, google):
        return {
            f"{google}/group_norm/gamma": state[f"{theirs}.weight"].numpy().astype(np.float32),
            f"{google}/group_norm/beta": state[f"{theirs}.bias"].numpy().astype(np.float32),
        }

    arrays = {
        "resnet/root_block/standardized_conv2d/kernel": kernel(state["stem.conv.weight"]),
        "resnet/head/conv2d/kernel": kernel(state["head.fc.weight"]),
        "resnet/head/conv2d/bias": state["head.fc.bias"].numpy().astype(np.float32),
        **norm("norm", "resnet"),
    }
    for stage, count in enumerate(units):
        for unit in range(count):
            theirs, google = f"stages.{stage}.blocks.{unit}.", f"resnet/block{stage + 1}/unit{unit + 1:02}/"
            for number, letter in enumerate("abc", 1):
                name = f"{google}{letter}/standardized_conv2d/kernel"
                arrays[name] = kernel(state[f"{theirs}conv{number}.weight"])
                arrays |= norm(f"{theirs}norm{number}", google + letter)
            if unit == 0:
                name = f"{google}a/proj/standardized_conv2d/kernel"
                arrays[name] = kernel(state[f"{theirs}downsample.conv.weight"])
    return arrays


def run(model, images):
    """Returns the logits, the tokens after each block, and the map of the first image after each unit."""
    maps, backbone = {}, getattr(getattr(model, "patch_embed", model), "backbone", model)
    for stage, blocks in enumerate(getattr(backbone, "stages", ()), 1):
        for number, unit in enumerate(blocks.blocks, 1):
            key = f"stage{stage}/unit{number:02}"
            unit.register_forward_hook(
                lambda _m, _i, found, key=key: maps.update({key: found[:1].permute(0, 2, 3, 1).numpy().copy()})
            )
    outputs = reference.run(model, images)
    return {name: array.astype(np.float32) for name, array in (maps | outputs).items()}


def redrawn(random, model):
    """Returns the state of a model, every tensor of it redrawn."""
    return {name: redraw(random, tuple(tensor.shape), name) for name, tensor in model.state_dict().items()}


def make(seed, models, google):
    """Returns the arrays of one file; `models` are the same one, by the kind of epsilon that it computes with."""
    random = np.random.default_rng(seed)
    images = random.normal(size=(2, SIDE, SIDE, 3)).astype(np.float16).astype(np.float32)
    state = redrawn(random, models["timm"])
    arrays = {f"weights/{name}": array for name, array in google(state).items()} | {"images": images}
    for kind, model in models.items():
        model.double().eval().load_state_dict(state)
        outputs = run(model, images)
        arrays |= {f"{kind}/{name}": array for name, array in outputs.items() if kind == "timm" or name == "logits"}
    return arrays


def main():
    """Writes the files beside this script."""
    files = {
        "hybrid": make(1, {"timm": hybrid(UNITS, 1)}, partial(google_hybrid, units=UNITS)),
        "hybrid_root": make(2, {"timm": hybrid((), 2)}, partial(google_hybrid, units=())),
        "bit": make(3, {kind: bit(kind) for kind in EPSILONS}, partial(google_bit, units=UNITS)),
    }
    for name, arrays in files.items():
        np.savez_compressed(pathlib.Path(__file__).with_name(f"{name}.npz"), **arrays)


if __name__ == "__main__":
    main()
