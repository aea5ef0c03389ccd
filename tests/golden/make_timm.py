"""Makes vit_class_token.npz and vit_mean.npz: tiny Vision Transformers of timm, run in float64, every tensor redrawn.

Each file holds
  weights/NAME    the weights under the names and in the shapes of Google's `.npz` files ("original" numbering);
  images          (batch, height, width, channels);
  KIND/logits, KIND/block00, …   what timm computes, KIND being the gelu, or pre_logits.
In the last the head reads a dense layer with tanh, as in Google's ImageNet-21k files; it runs on the tanh gelu.

Run with the packages of the `parity` extra, torchvision or not: python tests/golden/make_timm.py
"""

import pathlib
import re
from functools import partial

import numpy as np
import torch

from vit_jax.weights.references import timm as reference

WIDTH, DEPTH, HEADS, MLP_HIDDEN, PATCH, SIDE, CLASSES = 24, 3, 4, 40, 4, 16, 7


reference.timm()  # mocks stand in for torchvision where that is absent

from timm.models.vision_transformer import VisionTransformer  # noqa: E402

GELUS = {"gelu_exact": torch.nn.GELU, "gelu_tanh": partial(torch.nn.GELU, approximate="tanh")}


def build(gelu, class_token):
    """Returns timm's model, in float64."""
    return VisionTransformer(
        img_size=SIDE,
        patch_size=PATCH,
        num_classes=CLASSES,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=MLP_HIDDEN / WIDTH,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        act_layer=GELUS[gelu],
        class_token=class_token,
        global_pool="token" if class_token else "avg",
        fc_norm=False,
    ).double()


def redraw(random, shape, name):
    """Returns float32 values, of a size at which every tensor matters to the logits."""
    values = random.normal(size=shape)
    if name.endswith("weight") and len(shape) == 1:
        values = 1 + 0.3 * values
    elif name.endswith("weight"):
        values *= 1.5 / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32).astype(np.float64))


def google(state, heads=HEADS):
    """Returns timm's state under Google's names: Linear is (out, in) there and (in, out) here, heads have an axis."""
    state = {name: tensor.numpy().astype(np.float32) for name, tensor in state.items()}
    width, depth = (
        len(state["norm.weight"]),
        sum(bool(re.fullmatch(r"blocks\.\d+\.norm1\.bias", name)) for name in state),
    )
    head_width = width // heads
    arrays = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    if "cls_token" in state:
        arrays["cls"] = state["cls_token"]
    for number in range(depth):
        theirs, block = f"blocks.{number}.", f"Transformer/encoderblock_{number}/"
        attention = block + "MultiHeadDotProductAttention_1/"
        for norm, layer in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            arrays[f"{block}{layer}/scale"] = state[f"{theirs}{norm}.weight"]
            arrays[f"{block}{layer}/bias"] = state[f"{theirs}{norm}.bias"]
        for part, name in enumerate(("query", "key", "value")):
            rows = slice(part * width, (part + 1) * width)
            kernel = state[f"{theirs}attn.qkv.weight"][rows].T
            arrays[f"{attention}{name}/kernel"] = kernel.reshape(width, heads, head_width)
            arrays[f"{attention}{name}/bias"] = state[f"{theirs}attn.qkv.bias"][rows].reshape(heads, head_width)
        arrays[f"{attention}out/kernel"] = state[f"{theirs}attn.proj.weight"].T.reshape(heads, head_width, width)
        arrays[f"{attention}out/bias"] = state[f"{theirs}attn.proj.bias"]
        for dense, layer in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
            arrays[f"{block}MlpBlock_3/{layer}/kernel"] = state[f"{theirs}mlp.{dense}.weight"].T
            arrays[f"{block}MlpBlock_3/{layer}/bias"] = state[f"{theirs}mlp.{dense}.bias"]
    return arrays


def run(model, images):
    """Returns the features before the head, the logits, and the tokens after each block."""
    outputs = reference.run(model, images)
    with torch.no_grad():
        features = model.forward_head(model.forward_features(tensor(images)), pre_logits=True)
    np.testing.assert_allclose(model.head(features).detach().numpy(), outputs["logits"], rtol=1e-9)
    return features, outputs


def tensor(images):
    """Returns images as timm takes them."""
    return torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2)


def make(seed, class_token):
    """Returns the arrays of one file."""
    random = np.random.default_rng(seed)
    images = random.normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    state = {
        name: redraw(random, tuple(tensor.shape), name)
        for name, tensor in build("gelu_exact", class_token).state_dict().items()
    }
    arrays = {f"weights/{name}": array for name, array in google(state).items()} | {"images": images}
    for gelu in GELUS:
        model = build(gelu, class_token).eval()
        model.load_state_dict(state)
        features, outputs = run(model, images)
        arrays |= {f"{gelu}/{name}": array.astype(np.float32) for name, array in outputs.items()}

    kernel, bias = random.normal(size=(WIDTH, WIDTH)) / 5, random.normal(size=WIDTH)
    arrays |= {"pre_logits/kernel": kernel.astype(np.float32), "pre_logits/bias": bias.astype(np.float32)}
    with torch.no_grad():
        logits = model.head(torch.tanh(features @ torch.from_numpy(kernel) + torch.from_numpy(bias)))
    return arrays | {"pre_logits/logits": logits.numpy().astype(np.float32)}


def main():
    """Writes the files beside this script."""
    for name, class_token in (("vit_class_token", True), ("vit_mean", False)):
        np.savez_compressed(pathlib.Path(__file__).with_name(f"{name}.npz"), **make(len(name), class_token))


if __name__ == "__main__":
    main()
