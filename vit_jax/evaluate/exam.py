"""An evaluation that a run holds now and then."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from vit_jax import data
from vit_jax.data import pipeline
from vit_jax.data.examples import Source
from vit_jax.errors import UserError
from vit_jax.evaluate.classify import Batch
from vit_jax.shapes import Parameters


@runtime_checkable
class Result(Protocol):
    """What an evaluation found, as a line for people by `str`."""

    @property
    def score(self) -> float:
        """What the best checkpoint has most of."""
        ...

    def as_dict(self) -> dict[str, float]:
        """Returns all of it by name."""
        ...


@runtime_checkable
class Examiner(Protocol):
    """Finds out how well parameters do."""

    def evaluate(self, parameters: Parameters, batches: Iterable[Batch]) -> Result:
        """Returns the result over the batches of `pipeline.evaluation`, every image counted once."""
        ...


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

    def hold(self, examiner: Examiner, parameters: Parameters) -> Result:
        """Returns how well these parameters do, by what the examiner looks at."""
        return examiner.evaluate(parameters, self.batches)


def build(
    source: Mapping[str, Any],
    image_size: Sequence[int],
    learned_from: Source,
    threads: int,
    processes: int,
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
    return Exam(pipeline.evaluation(examined, transform, batch_size, threads, processes), every)
