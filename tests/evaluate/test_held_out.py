"""An objective's own loss on held-out images: every image once."""

from typing import ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import models, parallel
from vit_jax.data import pipeline, sources
from vit_jax.data.images import preprocess
from vit_jax.evaluate.exam import Examiner, Result
from vit_jax.evaluate.held_out import HeldOut, HeldOutResult
from vit_jax.objectives.classify import static
from vit_jax.objectives.masked_patches import MaskedPatches

HALF = (0.5, 0.5, 0.5)


@flax.struct.dataclass
class Brightness:
    """Loses what is bright, times the one number that it has learned."""

    names_classes: ClassVar[bool] = False

    model: nn.Module = static(default=nn.Dense(1))
    mean: tuple[float, float, float] = static(default=HALF)
    std: tuple[float, float, float] = static(default=HALF)
    loss: str = static(default="")

    def initial(self, key, image_size):
        return {"factor": jnp.float32(1)}

    def prepare(self, batch, key):
        return {"image": batch["image"].astype(jnp.float32)}

    def losses(self, parameters, batch, key):
        assert key is None
        means = batch["image"].mean(axis=(1, 2, 3))
        return {"loss": parameters["factor"] * means, "double": 2 * means}


def digits(batch_size: int) -> pipeline.Batches:
    return pipeline.evaluation(sources.build("digits", "val"), preprocess.build("squash", (8, 8)), batch_size, 0)


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 64), (8, 64), (1, 200), (8, 208)])
def test_every_image_counts_once(devices: int, batch_size: int):
    source = sources.build("digits", "val")
    pixels = np.stack([np.asarray(source[index].image) for index in range(200)])
    found = HeldOut(Brightness(), parallel.make_mesh(devices)).evaluate({"factor": jnp.float32(3)}, digits(batch_size))
    assert found.seen == 200
    assert found.means["loss"] == pytest.approx(3 * pixels.mean(), rel=1e-6)
    assert found.means["double"] == pytest.approx(2 * pixels.mean(), rel=1e-6)
    assert found.score == -found.means["loss"]


@pytest.mark.slow
def test_two_evaluations_draw_alike_and_batches_differently():
    model = models.build({"width": 8, "depth": 1, "mlp_hidden": 8, "heads": 1, "patch": (2, 2)}, classes=0)
    objective = MaskedPatches(model, HALF, HALF)
    parameters = objective.initial(jax.random.key(0), (8, 8))
    one, eight = (HeldOut(objective, parallel.make_mesh(devices)) for devices in (1, 8))
    first, again, split = (examiner.evaluate(parameters, digits(104)) for examiner in (one, one, eight))
    assert first == again
    assert split.means["loss"] == pytest.approx(first.means["loss"], rel=1e-6)
    batch = digits(104)[0]
    other = batch | {"index": batch["index"] + 1}  # the same images in another place
    assert one.evaluate(parameters, [batch]).means != one.evaluate(parameters, [other]).means


def test_it_is_an_examiner_with_a_result():
    result = HeldOutResult({"loss": 1.25, "accuracy": 0.5}, 1_234)
    assert isinstance(result, Result)
    assert str(result) == "held-out loss 1.2500, accuracy 0.5000, 1,234 images"
    assert result.as_dict() == {"loss": 1.25, "accuracy": 0.5, "seen": 1_234}
    assert isinstance(HeldOut(Brightness(), parallel.make_mesh(1)), Examiner)
