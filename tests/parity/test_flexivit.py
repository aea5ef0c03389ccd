"""FlexiViT against timm: the kernel of its patches, and a whole file for patches and images of another size."""

import dataclasses

import cases_npz
import numpy as np
import proof
import pytest
import torch
from timm.layers import resample_patch_embed

from vit_jax import models
from vit_jax.models import counts
from vit_jax.weights import adapt, files, formats
from vit_jax.weights.loaded import Loaded
from vit_jax.weights.patches import pseudo_inverse

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


def close(found, wanted):
    return np.abs(found - wanted).max() <= proof.TOLERANCE * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("size", [(48, 48), (30, 40), (16, 16), (8, 10)])
def test_the_kernel_is_timms(size):
    kernel = np.random.default_rng(0).normal(size=(32, 32, 3, 4)).astype(np.float32)
    theirs = torch.from_numpy(kernel.transpose(3, 2, 0, 1).astype(np.float64))
    theirs = resample_patch_embed(theirs, list(size), interpolation="bilinear", antialias=False)
    assert close(pseudo_inverse(kernel, size), theirs.permute(2, 3, 1, 0).numpy())


@pytest.mark.parametrize(("patch", "image_size"), [((6, 6), (36, 30)), ((3, 3), (12, 15)), ((2, 4), (16, 20))])
def test_a_file_for_patches_of_another_size_computes_what_timm_computes(patch, image_size, tmp_path):
    place = tmp_path / "flexivit_s_i1k.npz"
    np.savez(place, **cases_npz.big_vision("token"))
    loaded = formats.load(files.read(place))
    recipe = loaded.recipe
    options = recipe.model | {"size": recipe.model["size"] | {"patch": patch}}
    parameters = adapt.fit(
        loaded.parameters,
        counts.shapes(models.build(**options), image_size),
        recipe.position_resize,
        patch_resize=recipe.patch_resize,
    )
    plain = options | {"size": options["size"] | {"patch": list(patch)}}
    mine = Loaded(parameters, dataclasses.replace(recipe, model=plain, image_size=image_size))

    theirs = cases_npz.plain("token", no_embed_class=True, patch_size=patch, img_size=image_size, act_layer="gelu_tanh")
    theirs.load_pretrained(str(place))
    images = proof.images(image_size)
    with torch.no_grad():
        wanted = theirs.double().eval()(torch.from_numpy(images).double().permute(0, 3, 1, 2)).numpy()
    assert close(proof.activations(mine, images)["logits"], wanted)
