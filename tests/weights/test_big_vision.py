"""big_vision's `.npz` names and forms; tests/parity proves them on timm's own reading, attention pooling among them."""

import dataclasses
import logging
import pathlib

import jax
import ml_dtypes
import numpy as np
import pytest

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts
from vit_jax.weights import files, formats
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded

GOLDEN = {
    pool: dict(np.load(pathlib.Path(__file__).parent.parent / "golden" / f"vit_{pool}.npz"))
    for pool in ("class_token", "mean")
}
TABLE = "Transformer/posembed_input/pos_embedding"
NUMBERS = {
    "/MultiHeadDotProductAttention_1/": "/MultiHeadDotProductAttention_0/",
    "/LayerNorm_2/": "/LayerNorm_1/",
    "/MlpBlock_3/": "/MlpBlock_0/",
}


def google(pool="mean"):
    return {name.removeprefix("weights/"): array for name, array in GOLDEN[pool].items() if name.startswith("weights/")}


def renumbered(name):
    for before, now in NUMBERS.items():
        name = name.replace(before, now)
    return name


def big_vision(pool="mean"):
    """The arrays of a golden file under big_vision's names; its class token has taken its position in."""
    arrays = {renumbered(name): array for name, array in google(pool).items()}
    table = arrays.pop(TABLE)
    if pool == "class_token":
        arrays["cls"] = arrays["cls"] + table[:, :1]
        table = table[:, 1:]
    return arrays | {"pos_embedding": table}


def pooling(width=24, heads=4, hidden=40):
    """The names and shapes of attention pooling, written out from big_vision's MAPHead."""
    random, attention = np.random.default_rng(0), "MultiHeadDotProductAttention_0"
    shapes = {
        "probe": (1, 1, width),
        "LayerNorm_0/scale": (width,),
        "LayerNorm_0/bias": (width,),
        "MlpBlock_0/Dense_0/kernel": (width, hidden),
        "MlpBlock_0/Dense_0/bias": (hidden,),
        "MlpBlock_0/Dense_1/kernel": (hidden, width),
        "MlpBlock_0/Dense_1/bias": (width,),
        f"{attention}/out/kernel": (heads, width // heads, width),
        f"{attention}/out/bias": (width,),
    }
    for name in ("query", "key", "value"):
        shapes |= {f"{attention}/{name}/kernel": (width, heads, width // heads)}
        shapes |= {f"{attention}/{name}/bias": (heads, width // heads)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def under(prefix, arrays):
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def scanned(arrays):
    blocks = {name: array for name, array in arrays.items() if "encoderblock_" in name}
    stacks = {
        name.replace("encoderblock_0", "encoderblock"): np.stack(
            [blocks[name.replace("_0", f"_{n}", 1)] for n in (0, 1, 2)]
        )
        for name in blocks
        if "encoderblock_0" in name
    }
    return {name: array for name, array in arrays.items() if name not in blocks} | stacks


def older(arrays):
    """As big_vision wrote them before 2022: positions in the encoder, attention pooling at the top."""
    renamed = {name.removeprefix("MAPHead_0/"): array for name, array in arrays.items()}
    renamed["Transformer/pos_embedding"] = renamed.pop("pos_embedding")
    return renamed


def logits(loaded, pool):
    model = models.build(**loaded.recipe.model)
    return jax.jit(lambda params, images: models.apply(model, params, images))(
        loaded.parameters, GOLDEN[pool]["images"]
    )


def assert_same_arrays(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def assert_same_parameters(one, other):
    assert jax.tree.all(jax.tree.map(np.array_equal, one.parameters, other.parameters))


@pytest.mark.parametrize("pool", GOLDEN)
def test_logits_are_timms(pool):
    loaded, wanted = formats.load(File(big_vision(pool))), GOLDEN[pool]["gelu_tanh/logits"]
    assert loaded.recipe.origin["format"] == "big_vision"
    assert loaded.recipe.model["pool"] == pool
    np.testing.assert_allclose(logits(loaded, pool), wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))


POOLED = big_vision() | under("MAPHead_0/", pooling())
FORMS = {
    "bare": POOLED,
    "class token": big_vision("class_token"),
    "params": under("params/", POOLED),
    "optimizer": under("opt/target/", POOLED),
    "pair": under("img/", POOLED),
    "pair in training": under("params/img/", POOLED),
    "scan": scanned(POOLED),
    "scan of a pair": under("params/img/", scanned(POOLED)),
    "older": older(POOLED),
    "one position more": big_vision("class_token")
    | {"pos_embedding": google("class_token")[TABLE], "cls": google("class_token")["cls"]},
    "no head": {name: array for name, array in POOLED.items() if not name.startswith("head/")},
    "fixed positions": {name: array for name, array in big_vision().items() if name != "pos_embedding"},
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read_and_written_back_to_the_bit(form):
    loaded = formats.load(File(FORMS[form]))
    assert_same_arrays(formats.save(loaded, "big_vision").arrays, FORMS[form])


@pytest.mark.parametrize("form", [form for form, arrays in FORMS.items() if len(arrays) > 1 and "pair" in form])
def test_the_head_of_a_pair_tells_no_classes(form):
    recipe = formats.load(File(FORMS[form])).recipe
    assert (recipe.loss, recipe.preprocess) == ("", {"kind": "squash"})


@pytest.mark.parametrize("form", ["params", "optimizer", "pair", "pair in training", "scan", "scan of a pair", "older"])
def test_each_form_gives_the_same_parameters(form):
    assert_same_parameters(formats.load(File(FORMS[form])), formats.load(File(POOLED)))


def test_the_older_numbering_gives_the_same_parameters():
    back = {now: before for before, now in NUMBERS.items()}
    original = {}
    for name, array in big_vision().items():
        for now, before in back.items():
            name = name.replace(now, before) if "encoderblock" in name else name
        original[name] = array
    assert "Transformer/encoderblock_0/MlpBlock_3/Dense_0/bias" in original
    loaded = formats.load(File(original))
    assert_same_parameters(loaded, formats.load(File(big_vision())))
    assert_same_arrays(formats.save(loaded, "big_vision").arrays, original)


FILES = {**{form: ("big_vision", arrays) for form, arrays in FORMS.items()}}
FILES |= {f"google {pool}": ("google", google(pool)) for pool in GOLDEN}
FILES |= {"google, a pair": ("google", under("img/", google()))}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_in_one_format(name):
    format, arrays = FILES[name]
    assert [each for each, module in formats.FORMATS.items() if module.recognises(File(arrays))] == [format]


def test_what_is_left_aside_is_said_and_not_written(caplog):
    rest = {"params/txt/head/bias": np.zeros(3, np.int32), "params/t": np.zeros(1), "opt/0/mu/img/cls": np.zeros(1)}
    loaded = formats.load(File(under("params/img/", POOLED) | rest, place="pair.npz"))
    assert "pair.npz: only the image encoder is read, not opt, params/t, params/txt" in caplog.text
    assert loaded.recipe.origin["left_aside"] == ["opt", "params/t", "params/txt"]
    assert_same_arrays(formats.save(loaded, "big_vision").arrays, under("params/img/", POOLED))


def test_bfloat16_keeps_its_bits(tmp_path):
    halved = {name: array.astype(ml_dtypes.bfloat16) for name, array in scanned(POOLED).items()}
    np.savez(tmp_path / "theirs.npz", **{name: array.view("V2") for name, array in halved.items()})
    loaded = formats.load(files.read(tmp_path / "theirs.npz"))
    kernel = loaded.parameters["encoder"]["block01"]["mlp"]["hidden"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, halved["Transformer/encoderblock/MlpBlock_0/Dense_0/kernel"][1])
    files.write(formats.save(loaded, "big_vision"), tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz") as back:
        assert set(back.files) == set(halved)
        assert all(back[name].dtype == "V2" and back[name].tobytes() == halved[name].tobytes() for name in halved)


def test_what_bfloat16_would_round_is_written_in_float32():
    loaded = formats.load(File({name: array.astype(ml_dtypes.bfloat16) for name, array in big_vision().items()}))
    tuned = loaded.parameters | {"head": jax.tree.map(lambda leaf: leaf + np.float32(1e-3), loaded.parameters["head"])}
    arrays = formats.save(Loaded(tuned, loaded.recipe), "big_vision").arrays
    np.testing.assert_array_equal(arrays["head/kernel"], tuned["head"]["kernel"])
    assert {name for name, array in arrays.items() if array.dtype == np.float32} == {"head/kernel", "head/bias"}


def test_what_is_known_of_the_family():
    recipe = formats.load(File(FORMS["fixed positions"], place="gs://big_vision/vit_s16_i1k_90ep.npz")).recipe
    assert recipe.model == {
        "size": {"width": 24, "depth": 3, "mlp_hidden": 40, "heads": 4, "patch": [4, 4]},
        "classes": 7,
        "pool": "mean",
        "class_token": False,
        "positions": "sincos2d",
        "activation": "gelu_tanh",
        "norm_epsilon": 1e-6,
    }
    assert (recipe.image_size, recipe.mean, recipe.std) == ((224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (recipe.loss, recipe.preprocess["kind"]) == ("softmax", "resize_crop")
    assert recipe.position_resize == "linear_align_corners"
    assert formats.load(File(big_vision())).recipe.image_size == (16, 16)


@pytest.mark.parametrize("pool", GOLDEN)
def test_googles_weights_compute_the_same_in_big_visions_names(pool):
    loaded = formats.load(File(google(pool)))
    arrays = formats.save(loaded, "big_vision").arrays
    assert_same_arrays(arrays, big_vision(pool))
    np.testing.assert_array_equal(logits(formats.load(File(arrays)), pool), logits(loaded, pool))


@pytest.mark.parametrize("pool", GOLDEN)
def test_big_visions_weights_compute_the_same_in_googles_names(pool):
    loaded = formats.load(File(big_vision(pool)))
    arrays = formats.save(loaded, "google").arrays
    assert arrays["Transformer/encoderblock_0/LayerNorm_2/bias"].shape == (24,)
    assert not np.any(arrays[TABLE][:, : len(arrays.get("cls", []))])
    np.testing.assert_array_equal(logits(formats.load(File(arrays)), pool), logits(loaded, pool))


WIDER = {"width": 32, "depth": 1, "mlp_hidden": 40, "heads": 4, "patch": [4, 4]}


def of_another_family(**options):
    """Weights of a model that differs from a golden one in its options, all zeros."""
    loaded = formats.load(File(google("class_token")))
    recipe = dataclasses.replace(loaded.recipe, model=loaded.recipe.model | options, origin={})
    shapes = counts.shapes(models.build(**recipe.model), recipe.image_size)
    return Loaded(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes), recipe)


@pytest.mark.parametrize("format", ["google", "big_vision"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"registers": 2}, "some arrays have no place in these files; unknown: registers. Choose another format"),
        ({"layer_scale": 0.1}, "unknown: encoder/block00/scale_attention, .*. Choose another format"),
        ({"distillation_token": True}, "unknown: distillation_token. Choose another format to write"),
        (
            {"rotary": "dinov3", "size": WIDER},
            r"files cannot say rotary=dinov3 \(read as none\); choose another format to write",
        ),
        ({"pool": "mean", "class_token": True}, r"files cannot say pool=mean \(read as class_token\)"),
    ],
    ids=["registers", "layer scale", "two tokens", "rotary", "pool"],
)
def test_what_the_files_cannot_hold_is_refused(format, options, message):
    with pytest.raises(UserError, match=message):
        formats.save(of_another_family(**options), format)


def test_positions_that_were_not_learned_have_no_place_in_googles_files():
    with pytest.raises(UserError, match=r"google files cannot say positions=sincos2d \(read as none\)"):
        formats.save(of_another_family(positions="sincos2d"), "google")
    with pytest.raises(UserError, match="hold learned positions, and the model has none; choose another format"):
        formats.save(of_another_family(positions="none"), "google")
    with pytest.raises(UserError, match=r"big_vision files cannot say positions=none \(read as sincos2d\)"):
        formats.save(of_another_family(positions="none"), "big_vision")
    theirs = formats.save(of_another_family(positions="sincos2d"), "big_vision").arrays
    assert "pos_embedding" not in theirs and "cls" in theirs


@pytest.mark.parametrize("format", ["google", "big_vision"])
def test_numbers_that_the_files_cannot_say_are_warned_of_and_kept_for_us(format, caplog, tmp_path):
    with caplog.at_level(logging.WARNING):
        file = formats.save(of_another_family(activation="gelu_exact", norm_epsilon=1e-5), format)
    assert f"{format} files cannot say it" in caplog.text
    assert "activation=gelu_tanh, not gelu_exact, norm_epsilon=1e-06, not 1e-05" in caplog.text
    files.write(file, tmp_path / "ours.npz")
    recipe = formats.load(files.read(tmp_path / "ours.npz")).recipe
    assert (recipe.model["activation"], recipe.model["norm_epsilon"]) == ("gelu_exact", 1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Transformer/encoderblock/LayerNorm_0/scale": np.zeros((2, 24), np.float32)}, "share the length of their"),
        ({"Transformer/encoderblock/LayerNorm_0/scale": np.zeros((), np.float32)}, "share the length of their"),
        ({"Transformer/encoderblock/extra": np.zeros((3, 2), np.float32)}, "unknown: Transformer/encoderblock_0/extra"),
        ({"MAPHead_0/extra": np.zeros(1, np.float32)}, "unknown: MAPHead_0/extra"),
        ({"pos_embedding": np.zeros((1, 15, 24), np.float32)}, "15 positions, .* not a square grid"),
        ({"head/bias": np.zeros(7, np.int32)}, "floats; of another kind: head/bias int32"),
    ],
    ids=["another depth", "no depth", "block", "pool", "positions", "integers"],
)
def test_what_is_no_file_of_big_visions_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        formats.load(File(FORMS["scan"] | change))


def test_a_scan_of_more_blocks_than_any_model_has_is_refused():
    arrays = {
        name: np.zeros((10**9, 0), np.float32) if "encoderblock" in name else a for name, a in FORMS["scan"].items()
    }
    with pytest.raises(UserError, match=r"got Transformer/encoderblock/.* \(1000000000, 0\)"):
        formats.load(File(arrays))
