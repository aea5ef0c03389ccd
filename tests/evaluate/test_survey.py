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
from vit_jax.models.positions import sincos2d

MEAN, STD = (0.2, 0.4, 0.6), (0.3, 0.5, 0.7)
SIZE = {"width": 8, "depth": 2, "mlp_hidden": 8, "heads": 2, "patch": [4, 2]}
# The root alone, as in R+Ti/16: a place every 4 pixels.
HYBRID = models.build(SIZE | {"patch": [1, 1], "stem": {"units": [], "width": 32}}, classes=3)
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 8, 12, 3)).astype(np.uint8)


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
    "hybrid": (HYBRID, (2, 3), (4.0, 4.0)),
    "registers": (
        models.build(SIZE, classes=3, pool="mean", registers=2, positions="none", rotary="dinov3"),
        (2, 6),
        (4.0, 2.0),
    ),
    "map_beside_a_class_token": (models.build(SIZE, classes=3, pool="map", class_token=True), (2, 6), (4.0, 2.0)),
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
        found.attended.maps, np.asarray(inspect.attention_map(kept, model.architecture.pool))[[0, 2, 6]], atol=1e-5
    )
    np.testing.assert_allclose(found.attended.maps.sum(axis=(1, 2)), np.ones(3), rtol=1e-5)

    positions = {"class_token": "sincos2d", "map": "none", "registers": "rotary"}
    assert found.attended.positions == positions.get(kind, "learned")
    if kind in ("map", "registers"):
        assert found.attended.similarity is None
    else:
        positions = sincos2d(2, 6, 8) if kind == "class_token" else parameters["positions"]["grid"]
        np.testing.assert_allclose(found.attended.similarity, inspect.position_similarity(positions), atol=1e-5)

    prefix = {"map": 0, "registers": 2}.get(kind, 1)
    assert list(found.norms) == ["embedded", "encoder/block00", "encoder/block01"]
    for layer, norms in found.norms.items():
        lengths = np.linalg.norm(kept["embedded" if layer == "embedded" else f"{layer}/output"], axis=-1)
        expected = {"mean": lengths[:, prefix:].mean(), "largest": lengths[:, prefix:].max()}
        expected |= {"class_token": lengths[:, 0].mean()} if prefix == 1 else {}
        assert norms == pytest.approx(expected, rel=1e-4)


def test_a_convolutional_network_has_filters_and_norms():
    model = models.build({"units": [2, 2], "width": 32}, classes=3)
    parameters = drawn(model)
    found, kept = surveyed(model, parameters), intermediates(model, parameters)
    assert found.attended is None
    assert list(found.norms) == [f"stage{stage}/unit{unit:02}" for stage in (1, 2) for unit in (1, 2)]
    for layer, norms in found.norms.items():
        lengths = np.linalg.norm(kept[f"{layer}/output"], axis=-1)
        assert norms == pytest.approx({"mean": lengths.mean(), "largest": lengths.max()}, rel=1e-4)
    assert (found.kernel, found.filters.shape) == ("root/kernel", (28, 7, 7, 3))


@pytest.mark.parametrize("grey", [False, True])
def test_filters_are_those_of_the_kernel_that_reads_the_image(grey):
    parameters = drawn(HYBRID)
    found = surveyed(HYBRID, parameters, pixels=PIXELS[..., :1].repeat(3, axis=-1) if grey else PIXELS)
    kernel = np.asarray(parameters["stem"]["root"]["kernel"])
    over = {"axis": (0, 1, 2), "keepdims": True}
    kernel = jnp.asarray((kernel - kernel.mean(**over)) / (kernel.std(**over) + 1e-5))  # as Google's hybrids use it
    kernel = kernel.sum(axis=2, keepdims=True) if grey else kernel
    assert found.kernel == "stem/root/kernel"
    np.testing.assert_allclose(found.filters, inspect.patch_filters(kernel, 28), atol=1e-4)


def test_a_model_that_diverged_is_refused():
    model = ENCODERS["map"][0]
    with pytest.raises(UserError, match="diverged"):
        surveyed(model, jax.tree.map(lambda leaf: leaf * jnp.nan, drawn(model)))
