"""Google's and big_vision's `.npz` files, which timm reads with code of its own: tiny models of timm's, redrawn."""

import itertools
import re
from functools import partial

import make_resnets
import make_timm
import ml_dtypes
import numpy as np
import torch
from proof import Case, redrawn
from timm.models.vision_transformer import VisionTransformer

SIDE, RESIZED, HEADS = (16, 16), (24, 20), make_timm.HEADS
KEYS = "Transformer/encoderblock{}/MultiHeadDotProductAttention_{}/key/bias"  # which softmax does not see


def state(model, seed=0):
    """Returns the state of a model of timm's, every tensor redrawn."""
    random = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(redrawn(random, name, tuple(tensor.shape)).astype(np.float64))
        for name, tensor in model.state_dict().items()
    }


def plain(pool="token", **options):
    """Returns timm's model; "token" has a class token."""
    return VisionTransformer(
        **{"img_size": SIDE, "patch_size": 4} | options,
        num_classes=7,
        global_pool=pool,
        embed_dim=make_timm.WIDTH,
        depth=2,
        num_heads=HEADS,
        mlp_ratio=make_timm.MLP_HIDDEN / make_timm.WIDTH,
        class_token=pool == "token",
        fc_norm=False,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )


def pre_logits(width):
    """Returns the dense layer that the head reads, of which timm has none."""
    random = np.random.default_rng(1)
    return {
        "pre_logits/kernel": redrawn(random, "weight", (width, width)),
        "pre_logits/bias": redrawn(random, "bias", (width,)),
    }


def google(pool="token", hidden=False):
    """Returns the arrays of a file of gs://vit_models."""
    return make_timm.google(state(plain(pool)), HEADS) | (pre_logits(make_timm.WIDTH) if hidden else {})


def hybrid(units, patch):
    """Returns the arrays of a file of gs://vit_models with a ResNet below.

    Filters are so small, and so are the tokens, that what is added to their deviation or variance shows.
    """
    random = np.random.default_rng(2)
    arrays = make_resnets.google_hybrid(make_resnets.redrawn(random, make_resnets.hybrid(units, patch)), units)
    for name, array in arrays.items():
        if re.search(r"conv\w+/kernel$", name):
            array *= 10 ** random.uniform(-8, -4, array.shape[-1:]).astype(np.float32)
        if re.match("embedding/|cls$|.*pos_embedding$", name):
            array *= np.float32(0.01)
    return arrays


def big_vision(pool="map", classes=True, fixed=False):
    """Returns the arrays of a file of gs://big_vision; without `classes`, an encoder of features."""
    theirs = state(plain(pool, no_embed_class=True))
    arrays = {_renumbered(name): array for name, array in make_timm.google(theirs, HEADS).items()}
    if pool == "map":
        arrays |= attention_pooling({name: tensor.numpy().astype(np.float32) for name, tensor in theirs.items()})
    if fixed:
        del arrays["pos_embedding"]
    return arrays if classes else {name: array for name, array in arrays.items() if not name.startswith("head/")}


def _renumbered(name):
    for before, now in (
        ("Transformer/posembed_input/", ""),
        ("/MultiHeadDotProductAttention_1/", "/MultiHeadDotProductAttention_0/"),
        ("/LayerNorm_2/", "/LayerNorm_1/"),
        ("/MlpBlock_3/", "/MlpBlock_0/"),
    ):
        name = name.replace(before, now)
    return name


def attention_pooling(theirs):
    """Returns the arrays of big_vision's MAPHead: Linear is (out, in) there and (in, out) here, heads have an axis."""
    width, head_width = make_timm.WIDTH, make_timm.WIDTH // HEADS
    kernels = {"query": theirs["attn_pool.q.weight"]}
    kernels["key"], kernels["value"] = np.split(theirs["attn_pool.kv.weight"], 2)
    biases = {"query": theirs["attn_pool.q.bias"]}
    biases["key"], biases["value"] = np.split(theirs["attn_pool.kv.bias"], 2)
    attention = "MAPHead_0/MultiHeadDotProductAttention_0"
    arrays = {
        "MAPHead_0/probe": theirs["attn_pool.latent"],
        "MAPHead_0/LayerNorm_0/scale": theirs["attn_pool.norm.weight"],
        "MAPHead_0/LayerNorm_0/bias": theirs["attn_pool.norm.bias"],
        f"{attention}/out/kernel": theirs["attn_pool.proj.weight"].T.reshape(HEADS, head_width, width),
        f"{attention}/out/bias": theirs["attn_pool.proj.bias"],
    }
    for name, kernel in kernels.items():
        arrays[f"{attention}/{name}/kernel"] = kernel.T.reshape(width, HEADS, head_width)
        arrays[f"{attention}/{name}/bias"] = biases[name].reshape(HEADS, head_width)
    for layer, dense in itertools.product((0, 1), (("kernel", "weight"), ("bias", "bias"))):
        arrays[f"MAPHead_0/MlpBlock_0/Dense_{layer}/{dense[0]}"] = theirs[f"attn_pool.mlp.fc{layer + 1}.{dense[1]}"].T
    return arrays


def under(prefix, arrays):
    """Returns the arrays as they stand in a larger file."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def scanned(arrays):
    """Returns the arrays with those of all blocks stacked."""
    first = "Transformer/encoderblock_0/"
    parts = [name.removeprefix(first) for name in arrays if name.startswith(first)]
    stacks = {
        f"Transformer/encoderblock/{part}": np.stack([arrays[f"Transformer/encoderblock_{n}/{part}"] for n in (0, 1)])
        for part in parts
    }
    return {name: array for name, array in arrays.items() if "encoderblock_" not in name} | stacks


def halved(arrays):
    """Returns the arrays in bfloat16, of which NumPy's files say that they are two bytes of anything."""
    return {name: array.astype(ml_dtypes.bfloat16).view("V2") for name, array in arrays.items()}


def text_encoder():
    """Returns the arrays that lie beside an image encoder of SigLIP's."""
    random = np.random.default_rng(3)
    shapes = {"txt/pos_embedding": (1, 8, 24), "txt/head/kernel": (24, 24), "t": (1,), "b": (1,)}
    return {name: redrawn(random, name, shape) for name, shape in shapes.items()}


def case(name, format, arrays, unseen=(), image_size=SIDE, resized=RESIZED, **options):
    """Returns the case of a file that holds what `arrays()` returns."""

    def make(folder):
        np.savez(folder / "checkpoint.npz", **arrays())
        return folder / "checkpoint.npz"

    return Case(name, format, make, image_size, resized, unseen, **options)


def key_biases(prefix="", block="_*", layer=0, pool=True):
    """Returns the names of the biases that no logit depends on."""
    pooled = (f"{prefix}MAPHead_0/MultiHeadDotProductAttention_0/key/bias",) if pool else ()
    return (prefix + KEYS.format(block, layer), *pooled)


OF_GOOGLE = {"format": "google", "unseen": key_biases(layer=1, pool=False)}
OF_PAIRS = ("params/txt/", "params/t", "params/b")
CASES = [
    case("Google", arrays=google, **OF_GOOGLE),
    case("Google, mean of the patches", arrays=partial(google, "avg"), **OF_GOOGLE),
    case("Google, pre-training", arrays=partial(google, hidden=True), **OF_GOOGLE),
    case("Google, hybrid", arrays=partial(hybrid, (2, 1), 1), image_size=(32, 32), resized=(48, 40), **OF_GOOGLE),
    case("Google, R+Ti/16", arrays=partial(hybrid, (), 2), image_size=(32, 32), resized=(48, 40), **OF_GOOGLE),
    case("big_vision, class token", "big_vision", partial(big_vision, "token"), key_biases(pool=False)),
    case(
        "big_vision, fixed positions",
        "big_vision",
        partial(big_vision, "avg", fixed=True),
        key_biases(pool=False),
        unseen_numerics=("norm_epsilon",),  # beside the variance of the waves, a half, which every norm reads
    ),
    case("big_vision, attention pooling", "big_vision", big_vision, key_biases()),
    case(
        "big_vision, training state",
        "big_vision",
        lambda: under("params/", big_vision()) | under("opt/0/mu/", {"head/bias": np.zeros(7, np.float32)}),
        key_biases("params/"),
        left_aside=("opt/",),
    ),
    case(
        "big_vision, Flax's optimizer",
        "big_vision",
        lambda: under("opt/target/", big_vision()),
        key_biases("opt/target/"),
    ),
    case("big_vision, scan", "big_vision", lambda: scanned(big_vision()), key_biases(block="")),
    case("big_vision, bfloat16", "big_vision", lambda: halved(big_vision()), key_biases()),
    case(
        "SigLIP",
        "big_vision",
        lambda: under("params/", under("img/", big_vision(classes=False)) | text_encoder()),
        key_biases("params/img/"),
        left_aside=OF_PAIRS,
    ),
    case(
        "SigLIP 2, scan",
        "big_vision",
        lambda: under("params/", under("img/", scanned(big_vision(classes=False))) | text_encoder()),
        key_biases("params/img/", block=""),
        left_aside=OF_PAIRS,
    ),
    case(
        "LiT",
        "google",
        lambda: under("img/", google()) | text_encoder(),
        key_biases("img/", layer=1, pool=False),
        left_aside=("txt/", "t", "b"),
    ),
]
