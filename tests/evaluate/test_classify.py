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
from vit_jax.data.examples import Arrays, Example
from vit_jax.data.images import preprocess
from vit_jax.errors import UserError
from vit_jax.evaluate.classify import Classifier, Result, SeveralResult, wilson
from vit_jax.evaluate.precision import average_precision

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


class Several(Arrays):
    """The same images, with up to three labels, or none, one time in five."""

    most_labels = 3

    def __init__(self):
        images, _, _, _ = problem()
        super().__init__(images, np.zeros(COUNT, int), [str(label) for label in range(CLASSES)])
        draw = np.random.default_rng(1)
        # Class 6 is on no image.
        self.several = [tuple(draw.permutation(CLASSES - 1)[:count].tolist()) for count in draw.integers(4, size=COUNT)]

    def __getitem__(self, index: int) -> Example:
        return super().__getitem__(index)._replace(label=self.several[index])


@pytest.mark.parametrize("batch_size", [8, 104])
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_any_of_several_labels_is_right_and_precision_is_scikit_learns(batch_size: int, loss: str):
    kernel, logits = (each / 10 for each in problem()[2:])  # no softmax so sure that float32 calls it 1
    source = Several()
    truth = np.zeros((COUNT, CLASSES), bool)
    for row, labels in zip(truth, source.several, strict=True):
        row[list(labels)] = True
    parameters = parallel.place(parallel.make_mesh(8), {"head": {"kernel": jnp.asarray(kernel)}})
    squash = preprocess.build("squash", (4, 4))
    result = classifier(loss).evaluate(parameters, pipeline.evaluation(source, squash, batch_size, threads=0))

    labelled = truth.any(axis=1)
    best = np.argsort(-logits, axis=1)
    hits = np.take_along_axis(truth, best, axis=1)[labelled]
    assert isinstance(result, SeveralResult)
    assert (result.seen, result.labelled) == (COUNT, labelled.sum())
    assert [result.top1, result.top5] == pytest.approx([hits[:, 0].mean(), hits[:, :5].any(axis=1).mean()], abs=1e-7)
    scores = scipy.special.log_softmax(logits, axis=1) if loss == "softmax" else logits
    precision = sklearn.metrics.average_precision_score(truth[:, :-1], scores[:, :-1], average="macro")
    assert result.score == result.mean_average_precision == pytest.approx(precision, abs=1e-6)
    if loss == "sigmoid":
        expected = (
            -np.where(truth, scipy.special.log_expit(logits), scipy.special.log_expit(-logits)).sum(axis=1).mean()
        )
    else:
        expected = -(truth / np.maximum(truth.sum(axis=1, keepdims=True), 1) * scores).sum(axis=1).mean()
    assert result.loss == pytest.approx(expected, rel=1e-4)
    assert result.as_dict()["low"] == pytest.approx(wilson(result.top1, result.labelled)[0])
    assert f"{COUNT} images, {labelled.sum()} of them labelled" in str(result)


def test_scores_that_tie_are_ranked_together():
    draw = np.random.default_rng(0)
    for _ in range(20):
        scores, positive = draw.integers(6, size=40).astype(np.float32), draw.random(40) < 0.3
        expected = sklearn.metrics.average_precision_score(positive, scores)
        assert average_precision(scores, positive) == pytest.approx(expected, abs=1e-12)


def test_images_without_any_label_are_refused():
    source = Several()
    source.several = [()] * COUNT
    parameters = parallel.place(parallel.make_mesh(8), {"head": {"kernel": jnp.asarray(problem()[2])}})
    batches = pipeline.evaluation(source, preprocess.build("squash", (4, 4)), 104, threads=0)
    with pytest.raises(UserError, match="none of the 101 images has a label"):
        classifier().evaluate(parameters, batches)


@pytest.mark.parametrize(
    ("correct", "seen", "interval"),
    [(9_000, 10_000, (0.89396, 0.90573)), (0, 20, (0.0, 0.16113)), (20, 20, (0.83887, 1.0))],
)
def test_the_interval_is_wilsons(correct: int, seen: int, interval: tuple[float, float]):
    """Figures of statsmodels.stats.proportion.proportion_confint(method="wilson")."""
    assert Result(correct / seen, 1.0, 0.0, seen).interval == pytest.approx(interval, abs=1e-5)
