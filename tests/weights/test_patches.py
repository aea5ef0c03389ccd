import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts
from vit_jax.weights import adapt, formats
from vit_jax.weights.files import File
from vit_jax.weights.patches import pseudo_inverse

GOLDEN = dict(np.load(pathlib.Path(__file__).parent.parent / "golden" / "vit_mean.npz"))


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def enlarged(patches, size):
    return jax.image.resize(patches, (len(patches), *size, 3), "bilinear", antialias=False)


@pytest.mark.parametrize("size", [(8, 8), (7, 12), (4, 6)])
def test_an_enlarged_patch_makes_the_same_token(size):
    kernel, patches = drawn(4, 5, 3, 7), drawn(6, 4, 5, 3)
    tokens = np.einsum("bhwc,hwcf->bf", patches, kernel)
    found = np.einsum("bhwc,hwcf->bf", enlarged(patches, size), pseudo_inverse(kernel, size))
    np.testing.assert_allclose(found, tokens, rtol=0, atol=1e-5 * np.abs(tokens).max())


@pytest.mark.parametrize("size", [(3, 2), (5, 9), (12, 8), (8, 4)])
def test_the_tokens_of_random_patches_change_least(size):
    """The kernel of least squares (section 3.3), by the matrix of a whole patch instead of one for each of its axes."""
    kernel, before = drawn(8, 6, 3, 5), (8, 6)
    basis = np.eye(48, dtype=np.float32).reshape(48, *before)
    matrix = np.asarray(jax.image.resize(basis, (48, *size), "bilinear", antialias=False)).reshape(48, -1)
    wanted = np.linalg.lstsq(matrix.astype(np.float64), kernel.reshape(48, -1).astype(np.float64), rcond=1e-6)[0]
    found = pseudo_inverse(kernel, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted.reshape(*size, 3, 5), rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))


def test_the_same_size_keeps_every_bit():
    kernel = drawn(4, 4, 3, 7)
    assert pseudo_inverse(kernel, (4, 4)).tobytes() == kernel.tobytes()


def big_vision(place):
    """The weights of a golden file as big_vision would have named them, found at `place`."""
    arrays = {name.removeprefix("weights/"): array for name, array in GOLDEN.items() if name.startswith("weights/")}
    return formats.load(File(formats.save(formats.load(File(arrays)), "big_vision").arrays, place=place))


def target(loaded, patch, image_size):
    options = loaded.recipe.model | {"size": loaded.recipe.model["size"] | {"patch": patch}}
    return counts.shapes(models.build(**options), image_size)


def fit(loaded, patch, image_size):
    recipe = loaded.recipe
    wanted = target(loaded, patch, image_size)
    return adapt.fit(loaded.parameters, wanted, recipe.position_resize, patch_resize=recipe.patch_resize)


def test_flexivit_takes_other_patches_by_its_name_alone():
    loaded = big_vision("gs://big_vision/flexivit/flexivit_s_i1k.npz")
    assert (loaded.recipe.patch_resize, loaded.recipe.position_resize) == ("pseudo_inverse", "linear")
    fitted = fit(loaded, (3, 2), (15, 10))
    kernel, grid = (
        loaded.parameters[name][leaf] for name, leaf in (("patch_embedding", "kernel"), ("positions", "grid"))
    )
    np.testing.assert_array_equal(fitted["patch_embedding"]["kernel"], pseudo_inverse(kernel, (3, 2)))
    np.testing.assert_array_equal(fitted["positions"]["grid"], jax.image.resize(grid, (5, 5, 24), "linear"))
    with pytest.raises(UserError, match=r"patch_embedding/kernel came \(4, 4, 3, 24\), wanted \(3, 2, 3, 24\)"):
        fit(big_vision("gs://big_vision/vit_b16_i1k.npz"), (3, 2), (15, 10))


def test_a_way_that_there_is_not_is_named():
    with pytest.raises(UserError, match='Did you mean "pseudo_inverse"'):
        dataclasses.replace(big_vision("flexivit_b.npz").recipe, patch_resize="pseudo_inverted")
