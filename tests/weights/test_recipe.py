import dataclasses
import json

import pytest

from vit_jax.errors import UserError
from vit_jax.weights.recipe import Recipe

RECIPE = Recipe(
    model={"size": {"width": 24, "patch": [4, 4]}, "classes": 2, "norm_epsilon": 1e-6, "pool": "mean"},
    image_size=(224, 160),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    preprocess={"kind": "resize_crop", "resize": 256},
    loss="softmax",
    class_names=("Gänsegeier", "été"),
    position_resize="cubic_torch",
    source="drawn at random",
)


def test_there_and_back_is_the_same():
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE
    assert json.loads(RECIPE.to_json())["class_names"] == ["Gänsegeier", "été"]


def changed(**changes):
    return json.dumps(json.loads(RECIPE.to_json()) | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(imagesize=[1, 1]), 'a recipe reads no "imagesize". Did you mean "image_size"'),
        (json.dumps({"model": {}}), "a recipe: missing a required argument: 'image_size'"),
        (changed(image_size=[224]), r"image_size is \[height, width\] in pixels; got \[224\]"),
        (changed(image_size=[224, 0]), "image_size"),
        (changed(image_size=[True, True]), "image_size"),
        (changed(mean=[0.5, 0.5]), "mean is three numbers"),
        (changed(mean=[0.5, 0.5, float("nan")]), "mean is three numbers"),
        (changed(std=[1, 1, 0]), "std is three numbers above zero"),
        (changed(model=[1]), "model is a dict"),
        (changed(preprocess={"resize": 1}), 'with a "kind"'),
        (changed(class_names="cat"), "class_names is a list of words"),
        (changed(class_names=[1]), "class_names is a list of words"),
        (changed(position_resize="cubik"), 'Did you mean "cubic"'),
        (changed(patch_resize="pseudo"), 'Choose from: pseudo_inverse|Did you mean "pseudo_inverse"'),
        (changed(patch_resize=None), "patch_resize is the name of a way to resize patches"),
        (changed(loss=1), "loss is the name of a loss; got 1"),
        (changed(source=None), "source is a line of text"),
        ("[]", r"a recipe is a JSON object; got \[\]"),
        ("{", "not JSON"),
    ],
)
def test_what_is_no_recipe_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        Recipe.from_json(text)


@pytest.mark.parametrize("model", [{"patch": (4, 4)}, {"size": {4: 4}}, {"rate": float("inf")}, {"dtype": object}])
def test_a_model_that_json_would_change_is_refused(model):
    with pytest.raises(UserError, match="plain JSON values"):
        dataclasses.replace(RECIPE, model=model)
