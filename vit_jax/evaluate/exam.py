"""An evaluation that a run holds now and then."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax import data
from vit_jax.data import pipeline
from vit_jax.data.sources import Source
from vit_jax.errors import UserError
from vit_jax.evaluate.classify import Classifier, Result
from vit_jax.shapes import Parameters


@dataclasses.dataclass(frozen=True)
class Exam:
    """Images that the model does not learn from.

    Attributes:
      batches: all of them, cut as the model wants them.
      every: how many steps apart; 0 for the end only.
    """

    batches: pipeline.Batches
    every: int

    def due(self, step: int, last: int) -> bool:
        """Says whether `step` is one to evaluate at; the last always is."""
        return step == last or bool(self.every and step and step % self.every == 0)

    def hold(self, classifier: Classifier, parameters: Parameters) -> Result:
        """Returns how well the classifier does with these parameters."""
        return classifier.evaluate(parameters, self.batches)


def build(
    source: Mapping[str, Any],
    image_size: Sequence[int],
    learned_from: Source,
    threads: int,
    *,
    split: str,
    preprocess: Mapping[str, Any],
    batch_size: int,
    every: int,
) -> Exam:
    """Returns the exam on `split` of a source, which must have the classes of the source that is `learned_from`."""
    if every < 0:
        raise UserError(f"config.evaluate.every is at least 0 (the end only); got {every}")
    examined, transform = data.opened(source, image_size, split, preprocess)
    examined = data.with_classes(examined, learned_from.class_names)
    return Exam(pipeline.evaluation(examined, transform, batch_size, threads), every)
