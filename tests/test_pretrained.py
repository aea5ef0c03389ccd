import dataclasses
import functools
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hosts import Answer, host

import vit_jax
from vit_jax import models, pretrained
from vit_jax.errors import UserError
from vit_jax.models import positions
from vit_jax.objectives.classify import Classification
from vit_jax.train import start
from vit_jax.weights import names

GOLDEN = dict(np.load(Path(__file__).parent / "golden" / "vit_class_token.npz"))
NAME = "google:imagenet21k/ViT-B_16"


def npz(**more):
    """The bytes of a file as Google published them, of a tiny model."""
    buffer = io.BytesIO()
    weights = {key.removeprefix("weights/"): array for key, array in GOLDEN.items() if key.startswith("weights/")}
    np.savez(buffer, **weights | more)
    return buffer.getvalue()


@pytest.fixture
def google(tmp_path, monkeypatch):
    """A host in Google's place, with one tiny model."""
    monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with host() as server:
        server.answers["/vit_models/imagenet21k/ViT-B_16.npz"] = [Answer(npz())]
        monkeypatch.setenv("VIT_JAX_GOOGLE_ENDPOINT", server.url)
        yield server


def logits(model, parameters):
    return jax.jit(functools.partial(models.apply, model))(parameters, GOLDEN["images"])


def equal(one, two):
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_one_line_from_a_name_to_timms_logits(google):
    model, parameters, recipe = vit_jax.load(NAME)
    wanted = GOLDEN["gelu_tanh/logits"]
    np.testing.assert_allclose(logits(model, parameters), wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))
    assert recipe.source == NAME and recipe.image_size == (16, 16)


def test_another_task_has_a_head_of_zeros_and_the_recipe_says_so(google):
    _, before, upstream = vit_jax.load(NAME)
    model, parameters, recipe = vit_jax.load(NAME, classes=5)
    assert parameters["head"]["kernel"].shape == (24, 5)
    assert not parameters["head"]["kernel"].any() and not parameters["head"]["bias"].any()
    equal({**before, "head": 0}, {**parameters, "head": 0})
    changes = {"model": upstream.model | {"classes": 5}, "source": f"from {NAME}"}
    assert recipe == dataclasses.replace(upstream, **changes)
    assert models.build(**recipe.model) == model


def test_as_many_classes_as_before_are_other_classes(google):
    assert not np.any(vit_jax.load(NAME, classes=7)[1]["head"]["kernel"])


def test_class_names_go_with_their_head(google, monkeypatch):
    trained = start.trained(NAME)
    named = dataclasses.replace(trained.recipe, class_names=tuple("abcdefg"), loss="sigmoid")
    monkeypatch.setattr(start, "trained", lambda path: dataclasses.replace(trained, recipe=named))
    assert vit_jax.load(NAME, image_size=32)[2].class_names == named.class_names
    assert vit_jax.load(NAME, classes=7)[2].class_names == ()
    assert [vit_jax.load(NAME, classes=count)[2].loss for count in (None, 7, 0)] == ["sigmoid", "softmax", ""]


def test_a_model_of_features_has_no_head(google):
    model, parameters, recipe = vit_jax.load(NAME, classes=0)
    assert "head" not in parameters and recipe.model["classes"] == 0
    assert logits(model, parameters).shape == (2, 24)


def test_pre_logits_go_with_the_head_that_read_them(google):
    extra = {name: GOLDEN[name] for name in ("pre_logits/kernel", "pre_logits/bias")}
    google.answers["/vit_models/sam/ViT-B_16.npz"] = [Answer(npz(**extra))]
    assert "pre_logits" in vit_jax.load("google:sam/ViT-B_16")[1]
    _, parameters, recipe = vit_jax.load("google:sam/ViT-B_16", classes=5)
    assert "pre_logits" not in parameters and "pre_logits" not in recipe.model
    _, parameters, _ = vit_jax.load("google:sam/ViT-B_16", classes=5, pre_logits=24)
    np.testing.assert_array_equal(parameters["pre_logits"]["kernel"], GOLDEN["pre_logits/kernel"])


@pytest.mark.parametrize(("image_size", "grid"), [(24, (6, 6)), ((32, 20), (8, 5))])
def test_positions_take_another_image_size_as_their_family_does(google, image_size, grid):
    _, before, _ = vit_jax.load(NAME)
    _, after, recipe = vit_jax.load(NAME, image_size=image_size)
    wanted = positions.resize(jnp.asarray(before["positions"]["grid"]), grid, "linear_align_corners")
    np.testing.assert_array_equal(after["positions"]["grid"], wanted)
    equal({**before, "positions": before["positions"]["prefix"]}, {**after, "positions": after["positions"]["prefix"]})
    assert recipe.image_size == (4 * grid[0], 4 * grid[1])


def test_options_are_the_models(google):
    model, parameters, recipe = vit_jax.load(NAME, dropout=0.1, dtype="bfloat16")
    assert (models.option(model, "dropout"), recipe.model["dropout"]) == (0.1, 0.1)
    equal(parameters, vit_jax.load(NAME)[1])
    assert models.build(**recipe.model) == model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"droput": 0.1}, 'reads no "droput". Did you mean "dropout"'),
        ({"image_size": 18}, "image 18x18 does not divide into patches of 4x4"),
        ({"image_size": (16, 16, 3)}, r"image_size is one number, or \(height, width\), in pixels; got \(16, 16, 3\)"),
        ({"image_size": 0}, r"image_size is one number, or \(height, width\), in pixels; got 0"),
        ({"classes": -1}, "classes is how many there are, a whole number, at least 0; got -1"),
        ({"pool": "mean"}, "the model has no: class_token"),
    ],
)
def test_what_does_not_fit_is_a_line(google, options, message):
    with pytest.raises(UserError, match=message):
        vit_jax.load(NAME, **options)


def test_a_run_starts_from_a_name(google):
    trained = start.trained(NAME)
    objective = Classification(models.build(**trained.recipe.model | {"classes": 5}), (0.5,) * 3, (0.5,) * 3)
    recipe, parameters = start.parameters(objective, trained.recipe, seed=0, path=NAME)
    assert recipe.source == f"from {NAME}"
    equal(parameters["encoder"], trained.parameters["encoder"])
    assert len(google.requests) == 1


def test_a_path_is_loaded_as_it_is(tmp_path):
    (tmp_path / "mine.npz").write_bytes(npz())
    assert vit_jax.load(tmp_path / "mine.npz")[2].source == "mine.npz"


def test_models_are_listed_by_pattern():
    everything = pretrained.list_models()
    assert everything == names.published()
    found = vit_jax.list_models("*dinov2-b*")
    assert found == ["hf:facebook/dinov2-base", "hf:facebook/dinov2-base-imagenet1k-1-layer"]
    assert vit_jax.list_models("augreg:R26*") == ["augreg:R26+S/32", "augreg:R26+S/32@imagenet2012,384"]
    assert vit_jax.list_models("nothing") == []
