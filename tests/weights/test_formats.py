import dataclasses
import pathlib
import time

import numpy as np
import pytest

from vit_jax.errors import UserError
from vit_jax.weights import formats, google
from vit_jax.weights.files import File

GOLDEN = dict(np.load(pathlib.Path(__file__).parent.parent / "golden" / "vit_mean.npz"))
ARRAYS = {name.removeprefix("weights/"): array for name, array in GOLDEN.items() if name.startswith("weights/")}
RECIPE = dataclasses.asdict(google.load(File(ARRAYS)).recipe)
MODEL = RECIPE["model"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": MODEL | {"size": MODEL["size"] | {"depth": 10**9}}}, "a recipe of another model than its arrays"),
        ({"model": MODEL | {"size": MODEL["size"] | {"width": 10**9}}}, "a recipe of another model than its arrays"),
        ({"model": MODEL | {"size": "B/16"}}, "a recipe of another model than its arrays"),
        ({"model": MODEL | {"size": []}}, "model.size is a word or a section"),
        ({"model": MODEL | {"size": {"patch": 3}}}, "a recipe's model is none"),
        ({"model": MODEL | {"dropout": "high"}}, "a recipe's model is none"),
        ({"model": MODEL | {"activation": ["gelu"]}}, "activation"),
        ({"model": MODEL | {"code": "import os"}}, 'reads no "code"'),
        ({"model": {}}, "a recipe's model"),
        ({"model": MODEL | {"classes": 10**9}}, "classes|head"),
        ({"model": MODEL | {"classes": -1}}, "classes is how many there are, a whole number, at least 0; got -1"),
        ({"class_names": ("cat",)}, "names 1 classes, and its head has"),
        ({"class_names": ("cat\x1b[2J",) * MODEL["classes"]}, "class_names is a list of words"),
        ({"source": "one\ntwo"}, "source is a line of text"),
        ({"mean": (10**400,) * 3}, "mean is three numbers"),
        ({"code": "import os"}, 'reads no "code"'),
    ],
    ids=range(16),
)
def test_a_strangers_recipe_that_does_not_fit_its_arrays_is_refused_soon(changes, message):
    started = time.monotonic()
    with pytest.raises(UserError, match=message):
        formats.load(File(ARRAYS, notes={"recipe": RECIPE | changes}, place="x.npz"))
    assert time.monotonic() - started < 5


def test_a_recipe_that_fits_is_taken():
    taken = {"mean": (0.1, 0.2, 0.3), "class_names": tuple(map(str, range(MODEL["classes"])))}
    recipe = formats.load(File(ARRAYS, notes={"recipe": RECIPE | taken})).recipe
    assert (recipe.mean, recipe.class_names) == (taken["mean"], taken["class_names"])
