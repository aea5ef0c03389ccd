import pytest

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts
from vit_jax.models.sizes import by_name

# google-research/vision_transformer, models_test.py: 1000 classes, 224 x 224.
GOOGLE = {
    "Ti/16": 5_717_416,
    "S/16": 22_050_664,
    "S/32": 22_878_952,
    "B/8": 86_576_872,
    "B/16": 86_567_656,
    "B/32": 88_224_232,
    "L/16": 304_326_632,
    "L/32": 306_535_400,
    "H/14": 632_045_800,
}
# The same table's "gap-norep": mean pooling, no class token.
GOOGLE_MEAN = {"S/16": 22_049_896, "S/32": 22_878_184, "B/16": 86_566_120, "B/32": 88_222_696}
# big_vision, without head and class token, in millions, to the digits that are given.
BIG_VISION = {
    "mu/16": "0.04", "Ti/16": "5.52", "S/16": "21.66", "M/16": "38.32", "B/16": "85.80", "L/16": "303.3",
    "So400m/14": "412.4", "H/14": "630.8", "g/14": "1011", "g-opt/16": "1135", "G/14": "1843", "G-opt/16": "1663",
    "e/14": "3805",
}  # fmt: skip


@pytest.mark.parametrize(("name", "count"), GOOGLE.items())
def test_counts_are_googles(name: str, count: int):
    assert counts.parameters(models.build(name, classes=1000), (224, 224)) == count


@pytest.mark.parametrize(("name", "count"), GOOGLE_MEAN.items())
def test_counts_without_class_token_are_googles(name: str, count: int):
    assert counts.parameters(models.build(name, classes=1000, pool="mean"), (224, 224)) == count


@pytest.mark.parametrize(("name", "millions"), BIG_VISION.items())
def test_trunks_are_big_visions(name: str, millions: str):
    count = counts.parameters(models.build(name, classes=0, pool="mean"), (224, 224))
    decimals = len(millions.partition(".")[2])
    assert f"{count / 1e6:.{decimals}f}" == millions


def test_a_size_by_numbers_is_the_size_by_name():
    numbers = {"width": 192, "depth": 12, "mlp_hidden": 768, "heads": 3, "patch": [16, 8]}
    assert models.build(numbers, classes=10).size == by_name("Ti/16x8")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("b/16", 'unknown model size "b/16"'),
        ("B", "has no patch size"),
        ("B/sixteen", "has no patch size"),
        ("B/0", "at least 1"),
        ({"width": 10, "depth": 1, "mlp_hidden": 8, "heads": 3, "patch": (4, 4)}, "does not divide among 3 heads"),
        ({"width": 8, "dpeth": 1, "patch": (4, 4)}, 'Did you mean "depth"'),
        ({"width": 8, "depth": 1, "heads": 1, "patch": (4, 4)}, "mlp_hidden"),
        ({"width": 8, "depth": 1, "mlp_hidden": 8, "heads": 1, "patch": (4, 4, 4)}, "patch is"),
    ],
)
def test_a_wrong_size_is_named(size, message: str):
    with pytest.raises(UserError, match=message):
        models.build(size, classes=10)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"pool": "clas_token"}, 'Did you mean "class_token"'),
        ({"activation": "gelu"}, "gelu_tanh"),
        ({"positions": "sincos"}, 'Did you mean "sincos2d"'),
        ({"dtype": "bf16"}, "bfloat16"),
        ({"dropuot": 0.1}, 'Did you mean "dropout"'),
        ({"dropout": 1.0}, "probability"),
    ],
)
def test_a_wrong_option_is_named(option: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        models.build("Ti/16", classes=10, **option)
