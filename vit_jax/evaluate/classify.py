"""How often the class is right: every example counted once, on any number of devices.

Where examples may have several labels, a class is right that is any of them, as in the paper's figures on JFT (its
precision at 1, section 4.1) and as ReaL has it (arXiv 2006.07159), which leaves those without a label out of top-1 and
top-5; and the mean average precision is measured besides.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vit_jax import models, objectives, parallel
from vit_jax.data import augment
from vit_jax.errors import UserError
from vit_jax.evaluate.precision import Ranking
from vit_jax.objectives.classify import LOSSES, targets_of
from vit_jax.shapes import Logits, Parameters

Batch = Mapping[str, np.ndarray]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Result:
    """What an evaluation found: shares of the examples seen, and their mean loss."""

    top1: float
    top5: float
    loss: float
    seen: int

    @property
    def score(self) -> float:
        """What the best checkpoint has most of: `top1`."""
        return self.top1

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of `top1`, by Wilson."""
        return wilson(self.top1, self.seen)

    def as_dict(self) -> dict[str, float]:
        """Returns all of it by name."""
        low, high = self.interval
        return dataclasses.asdict(self) | {"low": low, "high": high}

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"top-1 {self.top1:.2%} (95% interval {low:.2%} to {high:.2%}), top-5 {self.top5:.2%}, "
            f"loss {self.loss:.4f}, {self.seen:,} images"
        )


@dataclasses.dataclass(frozen=True)
class SeveralResult(Result):
    """What an evaluation found where examples may have several labels: `top1` and `top5` are of the `labelled`."""

    labelled: int
    mean_average_precision: float

    @property
    def score(self) -> float:
        """What the best checkpoint has most of: `mean_average_precision`."""
        return self.mean_average_precision

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of `top1`, by Wilson."""
        return wilson(self.top1, self.labelled)

    def __str__(self) -> str:
        labelled = f", {self.labelled:,} of them labelled" if self.labelled < self.seen else ""
        return f"mAP {self.mean_average_precision:.2%}, {super().__str__()}{labelled}"


def wilson(share: float, seen: int) -> tuple[float, float]:
    """Returns the 95% interval of a share of `seen` examples (Wilson 1927): where it would lie for others of the kind.

    >>> wilson(0.5, 100)
    (0.40383..., 0.59616...)
    """
    z, n, p = 1.959964, seen, share
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


class Classifier:
    """A model that reads uint8 images: normalises them, runs, and counts what is right.

    Args:
      model: images to logits.
      mesh: where batches are split.
      mean, std: of the value range, by channel, where pixels lie in [0, 1].
      loss: the name of the loss that is reported, and of what turns logits into probabilities.
    """

    def __init__(self, model: nn.Module, mesh: Mesh, mean: Sequence[float], std: Sequence[float], loss: str):
        self.mesh, self.loss = mesh, loss
        self.classes = model.classes

        def logits_of(parameters: Parameters, images: jax.Array) -> Logits:
            return models.apply(model, parameters, augment.normalize(images, mean, std))

        def count(parameters: Parameters, batch: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], ...]:
            logits, labels, mask = logits_of(parameters, batch["image"]), batch["label"], batch["mask"]
            losses = LOSSES[loss](logits, targets_of(labels, model.classes, loss))
            _, best = jax.lax.top_k(logits, min(5, model.classes))
            any_of = labels if labels.ndim == 2 else labels[:, None]
            hits = (best[:, :, None] == any_of[:, None, :]).any(axis=-1)  # the -1 that fills up is never among the best
            sums = {
                "top1": (hits[:, 0] * mask).sum(),
                "top5": (hits.any(axis=1) * mask).sum(),
                "loss": (losses * mask).sum(),
                "seen": mask.sum(),
            }
            if labels.ndim == 1:
                return sums, {}
            sums["labelled"] = ((labels >= 0).any(axis=1) * mask).sum()
            scores = jax.nn.log_softmax(logits) if loss == "softmax" else logits  # comparable from image to image
            rows = {"scores": scores, "labels": labels, "mask": mask}
            return sums, jax.lax.with_sharding_constraint(rows, NamedSharding(mesh, P()))

        self._look = partial(augment.look, mean=mean, std=std)
        self._count = jax.jit(count)
        self._logits = jax.jit(logits_of)

    def evaluate(self, parameters: Parameters, batches: Iterable[Batch]) -> Result:
        """Returns the result over `batches` of uint8 `image`, `label` and `mask` (0 for padding).

        `parameters` are the model's, or all that an objective learned.
        """
        parameters = objectives.of_the_model(parameters)
        totals: dict[str, float] = {}
        ranking = Ranking()
        for sums, rows in one_behind(self._count(parameters, batch) for batch in self._placed(batches)):
            totals = {name: totals.get(name, 0.0) + float(each) for name, each in sums.items()}
            if rows:
                ranking.add(**{name: np.asarray(each) for name, each in rows.items()})
        seen = totals.pop("seen")
        if "labelled" not in totals:
            return Result(**{name: total / seen for name, total in totals.items()}, seen=round(seen))
        labelled = totals.pop("labelled")
        if not labelled:
            raise UserError(f"none of the {seen:,.0f} images has a label; evaluate on images that have some")
        return SeveralResult(
            top1=totals["top1"] / labelled,
            top5=totals["top5"] / labelled,
            loss=totals["loss"] / seen,
            seen=round(seen),
            labelled=round(labelled),
            mean_average_precision=ranking.mean_average_precision(),
        )

    def probabilities(self, parameters: Parameters, batches: Iterable[Batch]) -> np.ndarray:
        """Returns the probability of each class, (examples, classes) float32, in the order of the examples."""
        squash: Callable[[jax.Array], jax.Array] = jax.nn.softmax if self.loss == "softmax" else jax.nn.sigmoid
        rows = []
        for batch in self._placed(batches):
            logits = self._logits(parameters, batch["image"])
            rows.append(np.asarray(squash(logits))[np.asarray(batch["mask"], bool)])
        return np.concatenate(rows) if rows else np.zeros((0, self.classes), np.float32)

    def _placed(self, batches: Iterable[Batch]) -> Iterator[dict[str, jax.Array]]:
        """Yields the batches on the mesh; the first is looked at: does its value range fit?"""
        for number, batch in enumerate(batches):
            if number == 0:
                self._look(batch["image"])
            yield parallel.place_batch(self.mesh, {name: batch[name] for name in ("image", "label", "mask")})


def one_behind(results: Iterator[T]) -> Iterator[T]:
    """Yields each result after the next was asked for, so that the devices work while the host reads."""
    waiting = next(results, None)
    while waiting is not None:
        following = next(results, None)
        yield waiting
        waiting = following
