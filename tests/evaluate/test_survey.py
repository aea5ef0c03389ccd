"""A survey over batches against the same image by image, for every kind of model that is to be looked into."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import models, parallel
from vit_jax.errors import UserError
from vit_jax.evaluate import inspect
from vit_jax.evaluate.survey import Survey, survey
from vit_jax.models.intermediates import keep
from vit_jax.models.positions import Learned, sincos2d
from vit_jax.models.sizes import Size
from vit_jax.models.vit import Encoder

MEAN, STD = (0.2, 0.4, 0.6), (0.3, 0.5, 0.7)
SIZE = {"width": 8, "depth": 2, "mlp_hidden": 8, "heads": 2, "patch": [4, 2]}
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 8, 12, 3)).astype(np.uint8)


class Stem(nn.Module):
    """As a hybrid's: a convolution over the three channels, at half the size."""

    @nn.compact
    def __call__(self, images):
        return nn.Conv(6, (7, 7), 2, padding="SAME", name="root")(images)


class Hybrid(nn.Module):
    """An encoder over a feature map, as the hybrids have it: 4 x 6 places of 2 x 2 pixels."""

    @nn.compact
    def __call__(self, images, train):
        patches = nn.Conv(8, (1, 1), name="patch_embedding")(Stem(name="stem")(images))
        prefix = self.param("class_token", nn.initializers.normal(1.0), (1, 8))
        tokens = Learned(name="positions")(patches, jnp.broadcast_to(prefix[None], (len(images), 1, 8)))
        keep(self, "embedded", tokens)
        return Encoder(Size(8, 2, 8, 2, (1, 1)), name="encoder")(tokens, train)[:, 0]


class Unit(nn.Module):
    @nn.compact
    def __call__(self, features):
        features = nn.relu(nn.Conv(8, (3, 3), name="conv1")(features))
        keep(self, "output", features)
        return features


class Stage(nn.Module):
    @nn.compact
    def __call__(self, features):
        for number in (1, 2):
            features = Unit(name=f"unit{number:02}")(features)
        return features


class Convolutional(nn.Module):
    """No attention, no positions; each unit keeps its output, as the BiT baseline does."""

    @nn.compact
    def __call__(self, images, train):
        features = nn.Conv(6, (7, 7), 2, name="root")(images)
        for number in (1, 2):
            features = Stage(name=f"stage{number}")(features)
        return features.mean(axis=(1, 2))


def drawn(model: nn.Module) -> dict:
    """Parameters, every one of them random."""
    images = jnp.zeros((1, *PIXELS.shape[1:]))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, False))["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)


def surveyed(model: nn.Module, parameters: dict, batch_size: int = 4, pixels: np.ndarray = PIXELS) -> Survey:
    batches = []
    for start in range(0, len(pixels), batch_size):
        index = np.arange(start, start + batch_size)
        mask = (index < len(pixels)).astype(np.float32)
        index = np.minimum(index, len(pixels) - 1)
        batches.append({"image": pixels[index], "mask": mask, "index": index})
    mesh = parallel.make_mesh(data=2)
    return survey(model, parallel.place(mesh, parameters), mesh, MEAN, STD, batches, show=[0, 2, 6])


def intermediates(model: nn.Module, parameters: dict) -> dict:
    """What the model keeps of all images at once."""
    images = ((PIXELS / 255 - np.array(MEAN)) / np.array(STD)).astype(np.float32)
    return jax.jit(lambda *given: inspect.intermediates(model, *given))(parameters, images)


# model, grid, pixels from patch to patch
ENCODERS = {
    "class_token": (models.build(SIZE, classes=3, pool="class_token", positions="sincos2d"), (2, 6), (4.0, 2.0)),
    "map": (models.build(SIZE, classes=3, pool="map", positions="none"), (2, 6), (4.0, 2.0)),
    "hybrid": (Hybrid(), (4, 6), (2.0, 2.0)),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_survey_is_the_mean_over_images(kind):
    model, grid, patch = ENCODERS[kind]
    parameters = drawn(model)
    found, kept = surveyed(model, parameters), intermediates(model, parameters)
    assert (found.images, found.image_size) == (7, (8, 12))
    np.testing.assert_array_equal(found.shown, PIXELS[[0, 2, 6]])
    assert found.attended is not None and (found.attended.grid, found.attended.patch) == (grid, patch)

    weights = [kept[f"encoder/block{block:02}/attention/weights"] for block in range(2)]
    distance = jax.jit(lambda block: inspect.attention_distance(block, grid, patch))
    distances = [np.mean(distance(block), axis=0) for block in weights]
    np.testing.assert_allclose(found.attended.distances, distances, rtol=1e-4)
    np.testing.assert_allclose(
        found.attended.maps, np.asarray(jax.jit(inspect.attention_map)(kept))[[0, 2, 6]], atol=1e-5
    )
    np.testing.assert_allclose(found.attended.maps.sum(axis=(1, 2)), np.ones(3), rtol=1e-5)

    assert found.attended.learned is (kind != "class_token")
    if kind == "map":
        assert found.attended.similarity is None
    else:
        positions = sincos2d(2, 6, 8) if kind == "class_token" else parameters["positions"]["grid"]
        np.testing.assert_allclose(found.attended.similarity, inspect.position_similarity(positions), atol=1e-5)

    prefix = 0 if kind == "map" else 1
    assert list(found.norms) == ["embedded", "encoder/block00", "encoder/block01"]
    for layer, norms in found.norms.items():
        lengths = np.linalg.norm(kept["embedded" if layer == "embedded" else f"{layer}/output"], axis=-1)
        expected = {"mean": lengths[:, prefix:].mean(), "largest": lengths[:, prefix:].max()}
        expected |= {"class_token": lengths[:, 0].mean()} if prefix else {}
        assert norms == pytest.approx(expected, rel=1e-4)


def test_a_convolutional_network_has_filters_and_norms():
    model = Convolutional()
    parameters = drawn(model)
    found, kept = surveyed(model, parameters), intermediates(model, parameters)
    assert found.attended is None
    assert list(found.norms) == [f"stage{stage}/unit{unit:02}" for stage in (1, 2) for unit in (1, 2)]
    for layer, norms in found.norms.items():
        lengths = np.linalg.norm(kept[f"{layer}/output"], axis=-1)
        assert norms == pytest.approx({"mean": lengths.mean(), "largest": lengths.max()}, rel=1e-4)
    assert (found.kernel, found.filters.shape) == ("root/kernel", (5, 7, 7, 3))


@pytest.mark.parametrize("grey", [False, True])
def test_filters_are_those_of_the_kernel_that_reads_the_image(grey):
    model = Hybrid()
    parameters = drawn(model)
    found = surveyed(model, parameters, pixels=PIXELS[..., :1].repeat(3, axis=-1) if grey else PIXELS)
    kernel = parameters["stem"]["root"]["kernel"]
    kernel = kernel.sum(axis=2, keepdims=True) if grey else kernel
    assert found.kernel == "stem/root/kernel"
    np.testing.assert_allclose(found.filters, inspect.patch_filters(kernel, 5), atol=1e-5)


def test_a_model_that_diverged_is_refused():
    model = ENCODERS["map"][0]
    with pytest.raises(UserError, match="diverged"):
        surveyed(model, jax.tree.map(lambda leaf: leaf * jnp.nan, drawn(model)))
