"""The hybrid's stem and BiT, on their own; tests/weights/test_resnets.py proves them on timm's computation."""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts
from vit_jax.models.resnet import STANDARDIZATIONS, StandardizedConv
from vit_jax.models.sizes import HYBRIDS, RESNETS, by_name, by_numbers, numbers_of

STEM = {"units": (2, 1), "width": 32}
HYBRID = {"width": 24, "depth": 2, "mlp_hidden": 40, "heads": 4, "patch": (1, 2), "stem": STEM}
# google-research/vision_transformer, models_test.py: 1000 classes, 224 x 224.
GOOGLE = {
    "R+Ti/16": 6_337_704,
    "R26+S/32": 36_431_912,
    "R26+B/32": 101_383_976,
    "R50+B/16": 98_659_112,
    "R50+L/32": 328_994_856,
}
# timm's resnetv2_50x1_bit, …: 1000 classes.
TIMM = {
    "R50x1": 25_549_352,
    "R101x1": 44_541_480,
    "R50x3": 217_319_080,
    "R152x2": 236_335_208,
    "R152x4": 936_533_224,
}


@pytest.mark.parametrize(("name", "count"), (GOOGLE | TIMM).items())
def test_counts(name: str, count: int):
    assert counts.parameters(models.build(name, classes=1000), (224, 224)) == count


@pytest.mark.parametrize("name", [*HYBRIDS, *RESNETS])
def test_a_name_says_depth_and_stride(name: str):
    """A ResNet's number counts convolutions, three a unit, root and head; a hybrid's patch is in pixels."""
    size = by_name(name)
    stem = size.stem if name in HYBRIDS else size
    depth = name[1:].partition("+")[0].partition("x")[0]
    assert depth == ("" if not stem.units else str(3 * sum(stem.units) + 2))
    stride = {"R+Ti/16": 32}.get(name, int(name.partition("/")[2] or 32))  # the one that its name belies
    assert size.stride == (stride, stride)


@pytest.mark.parametrize("name", ["B/16", *HYBRIDS, *RESNETS])
def test_numbers_there_and_back(name: str):
    size = by_name(name)
    assert by_numbers(json.loads(json.dumps(numbers_of(size))), "size") == size


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("R50x4", 'unknown model size "R50x4". Did you mean "R50x'),
        ("R50+B/8", 'unknown model size "R50\\+B/8". Did you mean "R50\\+B/'),
        ({"units": (3, 0)}, r"every stage of a ResNet has at least 1 unit; got \(3, 0\)"),
        ({"units": (3,), "width": 48}, "a multiple of 32, its norms' groups; got 48"),
        ({"units": (3,), "widht": 64}, 'Did you mean "width"'),
        (HYBRID | {"stem": {"unit": (3,)}}, 'config.model.size.stem reads no "unit". Did you mean "units"'),
        (HYBRID | {"stem": {}}, "config.model.size.stem: missing .* 'units'"),
    ],
)
def test_a_wrong_size_is_named(size, message: str):
    with pytest.raises(UserError, match=message):
        models.build(size, classes=10)


@pytest.mark.parametrize(
    ("size", "option", "message"),
    [
        ("R50x1", {"pool": "mean"}, 'config.model reads no "pool". Choose from: size, classes, head_bias'),
        ("R50x1", {"norm_epsilom": 1e-6}, 'Did you mean "norm_epsilon"'),
        ("R50x1", {"standardization": "googel"}, 'unknown standardization "googel". Did you mean "google"'),
        ("B/16", {"standardization": "google"}, 'config.model reads no "standardization"'),
        ("B/16", {"stem_norm_epsilon": 1e-5}, 'reads no "stem_norm_epsilon". Did you mean "norm_epsilon"'),
    ],
)
def test_an_option_of_another_family_is_refused(size: str, option: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        models.build(size, classes=10, **option)


@pytest.mark.parametrize("name", STANDARDIZATIONS)
def test_standardization_is_the_formula_and_they_differ(name: str):
    """In each filter by itself, in float64; a small filter tells one epsilon from another."""
    kernel = np.random.default_rng(0).normal(0.1, 0.002, (3, 3, 4, 5)).astype(np.float32)

    def formula(which: str) -> np.ndarray:
        wanted = np.zeros(kernel.shape)
        for number in range(5):
            values = kernel[..., number].astype(np.float64)
            spread = {
                "google": np.sqrt(values.var()) + 1e-5,
                "bit": np.sqrt(values.var() + 1e-10),
                "timm": np.sqrt(values.var() + 1e-8),
            }[which]
            wanted[..., number] = (values - values.mean()) / spread
        return wanted

    found = STANDARDIZATIONS[name](jnp.asarray(kernel))
    np.testing.assert_allclose(found, formula(name), rtol=0, atol=1e-4)  # the mean is 50 deviations: float32's grain
    for other in STANDARDIZATIONS.keys() - {name}:
        assert np.abs(found - formula(other)).max() > 5e-4


@pytest.mark.parametrize(("side", "stride", "padding"), [(7, 2, None), (3, 2, None), (7, 2, 3), (3, 2, 1), (1, 2, 0)])
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_the_convolution_is_the_sum_over_its_window(side: int, stride: int, padding: int | None, size):
    """TensorFlow's "SAME" gives ceil(size / stride) places and puts the odd pixel of padding last."""
    conv, random = StandardizedConv(2, side, stride, padding), np.random.default_rng(0)
    image, kernel = random.normal(size=(*size, 3)), random.normal(size=(side, side, 3, 2)).astype(np.float32)
    if padding is None:
        totals = [max(0, (-(-n // stride) - 1) * stride + side - n) for n in size]
        pads = [(total // 2, total - total // 2) for total in totals]
    else:
        pads = [(padding, padding)] * 2
    padded = np.pad(image, [*pads, (0, 0)])
    weights = np.asarray(STANDARDIZATIONS["google"](jnp.asarray(kernel)), np.float64)
    rows, columns = ((n - side) // stride + 1 for n in padded.shape[:2])
    wanted = np.zeros((rows, columns, 2))
    for row, column in itertools.product(range(rows), range(columns)):
        window = padded[row * stride : row * stride + side, column * stride : column * stride + side]
        wanted[row, column] = np.tensordot(window, weights, 3)
    found = conv.apply({"params": {"kernel": jnp.asarray(kernel)}}, jnp.asarray(image[None], jnp.float32))
    np.testing.assert_allclose(found[0], wanted, atol=1e-5 * max(1, np.abs(wanted).max()))


def redrawn(model, image_size, seed: int = 0):
    """Parameters all drawn at random."""
    shapes, draw = flatten_dict(counts.shapes(model, image_size)), np.random.default_rng(seed)
    return unflatten_dict({k: jnp.asarray(draw.normal(0, 0.3, v.shape), jnp.float32) for k, v in shapes.items()})


def images(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def names(unit: list[str], projection: list[str]) -> set[str]:
    stages = [("stage1", "unit01", True), ("stage1", "unit02", False), ("stage2", "unit01", True)]
    return {
        f"{stage}/{number}/{leaf}"
        for stage, number, projects in stages
        for leaf in unit + (projection if projects else [])
    }


def norm(name: str) -> list[str]:
    return [f"{name}/scale", f"{name}/bias"]


def test_parameters_have_names_that_read_as_sentences():
    unit = [f"conv{i}/kernel" for i in (1, 2, 3)] + norm("norm1") + norm("norm2") + norm("norm3")
    bit = set(flatten_dict(counts.shapes(models.build(STEM, classes=3), (32, 32)), sep="/"))
    assert bit == names(unit, ["projection/kernel"]) | {"root/kernel", *norm("norm"), "head/kernel", "head/bias"}
    stem = counts.shapes(models.build(HYBRID, classes=3), (32, 32))["stem"]
    projection = ["projection/kernel", *norm("projection_norm")]
    assert set(flatten_dict(stem, sep="/")) == names(unit, projection) | {"root/kernel", *norm("root_norm")}


@pytest.mark.slow
def test_what_training_starts_from():
    """The head at zero and its bias, units of the stem that add nothing (google-research/vision_transformer)."""
    one = STEM | {"units": (1,)}
    model = models.build(one, classes=3, head_bias=-6.9)
    parameters = models.initial(model, jax.random.key(0), (32, 32))
    np.testing.assert_allclose(models.apply(model, parameters, images(2, 32, 32, 3)), np.full((2, 3), -6.9), rtol=1e-6)
    hybrid = models.build(HYBRID | {"depth": 1, "stem": one}, classes=3)
    unit = models.initial(hybrid, jax.random.key(0), (32, 32))["stem"]["stage1"]["unit01"]
    assert not np.any(unit["norm3"]["scale"])
    assert np.all(unit["norm2"]["scale"] == 1) and np.all(unit["projection_norm"]["scale"] == 1)


def test_features_without_a_head():
    with_head, without = models.build(STEM, classes=3), models.build(STEM, classes=0)
    parameters, batch = redrawn(with_head, (32, 32)), images(2, 32, 32, 3)
    features = models.apply(without, {name: tree for name, tree in parameters.items() if name != "head"}, batch)
    assert features.shape == (2, 4 * 64)
    head = parameters["head"]
    wanted = features @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(models.apply(with_head, parameters, batch), wanted, atol=1e-4)


def test_a_hybrid_takes_patches_of_its_map_and_pictures_that_they_tile():
    model = models.build(HYBRID, classes=3)
    shapes = counts.shapes(model, (40, 48))
    assert shapes["patch_embedding"]["kernel"].shape == (1, 2, 256, 24)
    assert shapes["positions"]["grid"].shape == (5, 3, 24)  # a place of the map every 8 pixels, a patch every 8x16
    with pytest.raises(UserError, match="image 40x40 does not divide into patches of 8x16; resize it"):
        model.init(jax.random.key(0), images(1, 40, 40, 3), False)


@pytest.mark.parametrize("size", [HYBRID, STEM], ids=["hybrid", "bit"])
def test_bfloat16_reaches_every_layer(size):
    model = models.build(size, classes=3, dtype="bfloat16")
    parameters, batch = redrawn(model, (32, 32)), images(2, 32, 32, 3)
    run = functools.partial(model.apply, train=False, mutable=["intermediates"])
    logits, state = jax.eval_shape(run, {"params": parameters}, batch)
    kept = flatten_dict(state["intermediates"], sep="/")
    units = [value for name, value in kept.items() if name.endswith("unit01/output")]
    assert logits.dtype == jnp.float32 and len(units) == 2
    assert all(value.dtype == jnp.bfloat16 for value in units)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(parameters))
    program = jax.jit(lambda p, x: models.apply(model, p, x)).lower(parameters, batch).as_text().splitlines()
    convolutions = [line for line in program if "stablehlo.convolution" in line]
    assert len(convolutions) == 1 + 3 * 3 + 2 + (size is HYBRID)  # the root, three units, two projections; patches
    assert all("bf16" in line for line in convolutions)
    sums = [line for line in program if "stablehlo.reduce(" in line and "applies stablehlo.add" in line]
    statistics = [line for line in sums if "tensor<2x" in line or "x32xf32>" in line or "x64xf32>" in line]
    assert len(statistics) > 20
    assert not [line for line in statistics if "bf16" in line]  # of norms and of kernels
