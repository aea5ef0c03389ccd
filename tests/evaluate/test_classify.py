"""Every example counts once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from vit_jax import parallel
from vit_jax.data import pipeline
from vit_jax.data.examples import Arrays
from vit_jax.data.images import preprocess
from vit_jax.evaluate.classify import Classifier, Result

COUNT, CLASSES = 101, 7


class Linear(nn.Module):
    """The simplest model that there is."""

    classes: int

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        return nn.Dense(self.classes, use_bias=False, name="head")(images.reshape(len(images), -1))


def problem():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (COUNT, 4, 4, 3)).astype(np.uint8)
    labels = draw.integers(0, CLASSES, COUNT)
    kernel = draw.normal(size=(48, CLASSES)).astype(np.float32)
    pixels = (images.reshape(COUNT, -1) / 255.0 - np.tile([0.4, 0.5, 0.6], 16)) / np.tile([0.2, 0.3, 0.5], 16)
    return images, labels, kernel, pixels @ kernel


def classifier(loss: str = "softmax") -> Classifier:
    return Classifier(Linear(CLASSES), parallel.make_mesh(8), (0.4, 0.5, 0.6), (0.2, 0.3, 0.5), loss)


def batches(batch_size: int):
    images, labels, _, _ = problem()
    source = Arrays(images, labels, [str(label) for label in range(CLASSES)])
    return pipeline.evaluation(source, preprocess.build("squash", (4, 4)), batch_size, threads=0)


@pytest.mark.parametrize("batch_size", [8, 24, 104, 200])
def test_every_example_counts_once_whatever_the_batch_size(batch_size: int):
    _, labels, kernel, logits = problem()
    parameters = {"head": {"kernel": jnp.asarray(kernel)}}
    parameters = parallel.place(parallel.make_mesh(8), parameters)
    result = classifier().evaluate(parameters, batches(batch_size))
    top = [sklearn.metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(CLASSES)) for k in (1, 5)]
    assert result.seen == COUNT
    assert [result.top1, result.top5] == pytest.approx(top, abs=1e-7)
    loss = sklearn.metrics.log_loss(labels, scipy.special.softmax(logits, axis=1), labels=range(CLASSES))
    assert result.loss == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("softmax", lambda logits: scipy.special.softmax(logits, axis=1)), ("sigmoid", scipy.special.expit)],
)
def test_probabilities_come_in_the_order_of_the_examples(loss: str, expected):
    _, _, kernel, logits = problem()
    parameters = parallel.place(parallel.make_mesh(8), {"head": {"kernel": jnp.asarray(kernel)}})
    found = classifier(loss).probabilities(parameters, batches(16))
    assert found.shape == (COUNT, CLASSES)
    np.testing.assert_allclose(found, expected(logits), atol=1e-4)


@pytest.mark.parametrize(
    ("correct", "seen", "interval"),
    [(9_000, 10_000, (0.89396, 0.90573)), (0, 20, (0.0, 0.16113)), (20, 20, (0.83887, 1.0))],
)
def test_the_interval_is_wilsons(correct: int, seen: int, interval: tuple[float, float]):
    """Figures of statsmodels.stats.proportion.proportion_confint(method="wilson")."""
    assert Result(correct / seen, 1.0, 0.0, seen).interval == pytest.approx(interval, abs=1e-5)
