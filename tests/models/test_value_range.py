import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from vit_jax import models
from vit_jax.models import value_range
from vit_jax.models.value_range import doubt

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.float32)
RANGES = {"google": ([0.5] * 3, [0.5] * 3), "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}


@pytest.mark.parametrize("name", RANGES)
def test_normalised_images_raise_no_doubt(name):
    mean, std = RANGES[name]
    normalised = (PIXELS / 255 - mean) / std
    assert doubt(normalised) == ""
    assert doubt(normalised[:0]) == ""
    assert doubt(np.clip(normalised, -0.2, 3)) == ""  # few dark pixels


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (PIXELS, "look like pixels of 0 to 255"),
        (PIXELS / 255, "look like pixels of 0 to 1"),
        ((PIXELS / 255 / 255 - 0.5) / 0.5, "were pixels of 0 to 1 taken for pixels of 0 to 255"),
        (((PIXELS / 255 - 0.5) / 0.5 - 0.5) / 0.05, "normalised twice"),
    ],
    ids=["bytes", "shares", "bytes of 0 and 1", "twice"],
)
def test_what_was_not_normalised_is_doubted(images, said):
    assert said in doubt(images)


def test_a_model_says_it_once(caplog):
    value_range._say.cache_clear()
    model = models.build(**small.FIELDS["model"], classes=3)
    parameters = models.initial(model, jax.random.key(0), (8, 8))
    with caplog.at_level(logging.WARNING):
        jax.jit(lambda images: models.apply(model, parameters, images))(jnp.asarray(PIXELS))
        assert caplog.text == ""  # traced images have no values
        for _ in range(2):
            models.apply(model, parameters, jnp.asarray(PIXELS))
    assert caplog.text.count("does not fit the model") == 1


def test_a_run_says_it(tmp_path, caplog):
    value_range._say.cache_clear()
    drawn = np.random.default_rng(0).integers(0, 2, (128, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(128) % 2
    splits = {"train": slice(0, 64), "val": slice(64, 128)}
    arrays = {f"{name}_images": drawn[part] for name, part in splits.items()}
    arrays |= {f"{name}_labels": labels[part] for name, part in splits.items()}
    np.savez(tmp_path / "shares.npz", **arrays)
    with caplog.at_level(logging.WARNING):
        small.train(tmp_path / "run", source={"kind": "arrays", "path": str(tmp_path / "shares.npz")}, steps=2)
    assert caplog.text.count("taken for pixels of 0 to 255") == 2  # of the first batch in training, and in evaluation
