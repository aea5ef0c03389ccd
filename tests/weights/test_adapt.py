import copy
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.weights import google
from vit_jax.weights.adapt import fit
from vit_jax.weights.files import File

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
RESIZED = dict(np.load(GOLDEN / "resize.npz"))
SIZE = {"width": 24, "depth": 3, "mlp_hidden": 40, "heads": 4, "patch": (4, 4)}


@pytest.fixture(scope="module")
def loaded():
    arrays = dict(np.load(GOLDEN / "vit_class_token.npz"))
    keep = {name: array for name, array in arrays.items() if name in ("pre_logits/kernel", "pre_logits/bias")}
    weights = {key.removeprefix("weights/"): array for key, array in arrays.items() if key.startswith("weights/")}
    return google.load(File(keep | weights)).parameters


@pytest.fixture
def plain(loaded):
    return {name: tree for name, tree in copy.deepcopy(loaded).items() if name != "pre_logits"}


def target(image=(16, 16), shapes_only=False, **options):
    """Returns the parameters of a model, every one of them at random, or their shapes."""
    model = models.build(**{"size": SIZE, "classes": 7} | options)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *image, 3)), False))["params"]
    random = np.random.default_rng(0)
    if shapes_only:
        return shapes
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(leaf.dtype), shapes)


def equal(one, two):
    one, two = flatten_dict(one, sep="/"), flatten_dict(two, sep="/")
    return {
        name for name in one | two if name not in one or name not in two or not np.array_equal(one[name], two[name])
    }


@pytest.mark.parametrize("shapes_only", [False, True])
def test_the_same_model_keeps_every_bit(plain, shapes_only):
    assert equal(fit(plain, target(shapes_only=shapes_only), "linear_align_corners"), plain) == set()


def test_pre_logits_stay_where_the_model_has_them(loaded):
    assert equal(fit(loaded, target(pre_logits=24), "linear"), loaded) == set()


@pytest.mark.parametrize(("classes", "new_head"), [(5, False), (7, True)])
def test_another_task_gets_its_own_head(plain, classes, new_head):
    wanted = target(classes=classes)
    fitted = fit(plain, wanted, "linear", new_head=new_head)
    assert equal(fitted, plain) == {"head/kernel", "head/bias"}
    assert equal(fitted["head"], wanted["head"]) == set()


def test_the_head_of_a_target_of_shapes_is_zero(plain):
    head = fit(plain, target(classes=5, shapes_only=True), "linear")["head"]
    assert head["kernel"].shape == (24, 5)
    assert not head["kernel"].any() and not head["bias"].any()


def test_a_head_that_read_pre_logits_goes_with_them(loaded):
    wanted = target()
    fitted = fit(loaded, wanted, "linear")
    assert "pre_logits" not in fitted
    assert equal(fitted["head"], wanted["head"]) == set()
    assert equal(fitted["encoder"], loaded["encoder"]) == set()


def test_a_model_of_features_has_no_head(loaded):
    fitted = fit(loaded, target(classes=0), "linear")
    assert not {"head", "pre_logits"} & set(fitted)


@pytest.mark.parametrize("kernel", ["linear", "linear_align_corners", "cubic", "cubic_torch"])
def test_positions_take_the_size_of_the_image(kernel):
    name = "7x5 to 9x12"
    options = {"size": SIZE | {"width": 12, "heads": 3}}
    weights = target((7 * 4, 5 * 4), **options)
    grid, wanted = RESIZED[f"{name}/grid"], RESIZED[f"{name}/{kernel}"]
    weights["positions"]["grid"] = np.tile(grid, 4)
    fitted = fit(weights, target((9 * 4, 12 * 4), shapes_only=True, **options), kernel)
    np.testing.assert_allclose(
        fitted["positions"]["grid"], np.tile(wanted, 4), rtol=0, atol=1e-5 * max(1, np.abs(wanted).max())
    )
    assert equal(fitted, weights) == {"positions/grid"}  # the class token's own position among the rest


def test_all_that_does_not_fit_is_listed_in_one_error(plain):
    del plain["encoder"]["block01"]["norm_mlp"]["scale"]
    wanted = target(size=SIZE | {"mlp_hidden": 48, "depth": 2}, pool="mean")
    with pytest.raises(UserError) as error:
        fit(plain, wanted, "linear")
    message = str(error.value)
    assert "the model has no: class_token, encoder/block02/" in message
    assert "the weights lack: encoder/block01/norm_mlp/scale;" in message
    assert "encoder/block00/mlp/hidden/kernel came (24, 40), wanted (24, 48)" in message
    assert "Build the model with the options of the weights" in message


@pytest.mark.parametrize(
    ("options", "kind", "names"),
    [
        ({"pre_logits": 24}, "the weights lack", {"pre_logits/bias", "pre_logits/kernel"}),
        ({"positions": "none"}, "the model has no", {"positions/grid", "positions/prefix"}),
        ({"size": SIZE | {"depth": 1}, "pool": "mean", "positions": "sincos2d"}, "the model has no", {"class_token"}),
    ],
    ids=["pre_logits", "positions", "depth"],
)
def test_another_model_is_refused(plain, options, kind, names):
    with pytest.raises(UserError) as error:
        fit(plain, target(shapes_only=True, **options), "linear")
    listed = str(error.value).split(f"{kind}: ")[1].split(". ")[0].split(" and ")[0].split(", ")
    assert names <= set(listed)


def test_another_width_is_refused_array_by_array(plain):
    with pytest.raises(UserError, match=r"positions/grid came \(4, 4, 24\), wanted \(4, 4, 28\)|and \d+ more") as error:
        fit(plain, target(shapes_only=True, size=SIZE | {"width": 28}), "linear")
    assert "came (1, 24), wanted (1, 28)" in str(error.value)


def test_weights_without_a_head_need_a_new_one(plain):
    del plain["head"]
    with pytest.raises(UserError, match="ask for new_head=True if only the head differs"):
        fit(plain, target(), "linear")
    assert equal(fit(plain, target(), "linear", new_head=True), plain) == {"head/kernel", "head/bias"}


def test_a_mistyped_kernel_is_named(plain):
    with pytest.raises(UserError, match='Did you mean "linear"'):
        fit(plain, target(), "liner")
