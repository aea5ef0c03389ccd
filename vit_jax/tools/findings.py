"""What the runs of `miniature` found, read from their folders: accuracies, curves, answers, a look inside."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax import models, parallel
from vit_jax.data import augment, pipeline
from vit_jax.data.examples import Source, labels_of
from vit_jax.data.images import preprocess
from vit_jax.errors import UserError
from vit_jax.evaluate import inspect
from vit_jax.evaluate.classify import Classifier, wilson
from vit_jax.models.positions import resize
from vit_jax.train.start import Trained


@dataclasses.dataclass(frozen=True)
class Share:
    """How many of the images are named right: a share of `seen`, and its 95% interval."""

    right: float
    seen: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% Wilson interval."""
        return wilson(self.right, self.seen)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.right:.1%} ({100 * low:.1f}–{100 * high:.1f})"


@dataclasses.dataclass(frozen=True)
class Curve:
    """The training loss by step, as it was logged."""

    steps: list[int]
    losses: list[float]


@dataclasses.dataclass(frozen=True)
class Budget:
    """What so many labelled digits were good for."""

    labels: int
    fine_tuned: Share
    scratch: Share
    neighbour: Share
    fine_tuned_curve: Curve
    scratch_curve: Curve


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model said to every test digit: `images` uint8 (images, height, width, 3), the rest (images,)."""

    images: np.ndarray
    names: list[str]
    true: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray  # of what was predicted
    class_names: tuple[str, ...]

    def write(self, file: Path) -> None:
        """Writes a line for each image."""
        with open(file, "w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["name", "true", "predicted", "probability"])
            for name, true, predicted, probability in zip(
                self.names, self.true, self.predicted, self.probability, strict=True
            ):
                writer.writerow([name, self.class_names[true], self.class_names[predicted], f"{probability:.6f}"])

    @property
    def confusion(self) -> np.ndarray:
        """How often each class (rows) was called each class (columns): integers (classes, classes)."""
        counts = np.zeros((len(self.class_names),) * 2, int)
        np.add.at(counts, (self.true, self.predicted), 1)
        return counts


@dataclasses.dataclass(frozen=True)
class Inside:
    """What the pre-trained and the fine-tuned model look like inside.

    Attributes:
      filters: principal components of the patch embeddings, channels summed, before and after fine-tuning:
        (count, height, width, 1).
      similarities: of the positions, (rows, columns, rows, columns): pre-trained, interpolated, fine-tuned.
      attention: for some images, where the class token's attention comes from: (images, rows, columns), sum 1.
    """

    filters: tuple[np.ndarray, np.ndarray]
    similarities: tuple[np.ndarray, np.ndarray, np.ndarray]
    attention: np.ndarray


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics; raises UserError if it has none."""
    file = folder / "metrics.jsonl"
    if not file.exists():
        raise UserError(f"there is no {file}; the run has not begun")
    return [json.loads(line) for line in file.read_text().splitlines()]


def share(folder: Path) -> Share:
    """Returns how well a run did in its last evaluation; raises UserError if there was none."""
    held = [line for line in metrics(folder) if "evaluation/top1" in line]
    if not held:
        raise UserError(f"{folder} was never evaluated; let the run end")
    return Share(held[-1]["evaluation/top1"], int(held[-1]["evaluation/seen"]))


def curve(folder: Path) -> Curve:
    """Returns the training loss of a run by step."""
    lines = [line for line in metrics(folder) if "train/loss" in line]
    return Curve([line["step"] for line in lines], [line["train/loss"] for line in lines])


def stacked(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Returns all images of a source of uint8 arrays of one shape, and their labels, of which each has one."""
    images = [np.asarray(source[index].image) for index in range(len(source))]
    return np.stack(images), labels_of(source)


def nearest_neighbour(known: np.ndarray, labels: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Returns for each of `images` the label of the `known` image nearest to it, pixel by pixel (Euclidean).

    Both uint8: the number of images, then any shape that both share. Of several that are as near the first counts.
    """
    known, images = (each.reshape(len(each), -1).astype(np.int64) for each in (known, images))
    squares = (known**2).sum(axis=1)[None] - 2 * images @ known.T  # the images' own squares change no order
    return labels[squares.argmin(axis=1)]


def answers(trained: Trained, source: Source) -> Answers:
    """Returns what a model says to every image of `source`."""
    recipe = trained.recipe
    transform = preprocess.build(image_size=recipe.image_size, **recipe.preprocess)
    batches = pipeline.evaluation(source, transform, min(len(source), 250))
    classifier = Classifier(trained.model, parallel.make_mesh(data=1), recipe.mean, recipe.std, recipe.loss)
    probabilities = classifier.probabilities(trained.parameters, batches)
    cut = np.concatenate([batch["image"][batch["mask"] > 0] for batch in batches])
    return Answers(
        images=cut,
        names=[source[index].name for index in range(len(source))],
        true=labels_of(source),
        predicted=probabilities.argmax(axis=1),
        probability=probabilities.max(axis=1),
        class_names=recipe.class_names,
    )


def inside(before: Trained, after: Trained, images: np.ndarray, filters: int = 12) -> Inside:
    """Returns what is inside a pre-trained model (`before`) and one that was fine-tuned from it.

    `images` are uint8 (images, height, width, 3) of the size that `after` sees; `filters` how many components to show.
    """
    grids = [jnp.asarray(each.parameters["positions"]["grid"]) for each in (before, after)]
    rows, columns = grids[1].shape[:2]
    interpolated = resize(grids[0], (rows, columns), before.recipe.position_resize)
    # Of grey images only the sum over the channels is ever seen; the rest is what chance began with.
    kernels = [
        jnp.asarray(each.parameters["patch_embedding"]["kernel"]).sum(axis=2, keepdims=True) for each in (before, after)
    ]
    seen = augment.normalize(jnp.asarray(images), after.recipe.mean, after.recipe.std)
    pool = models.option(after.model, "pool")
    look = jax.jit(lambda *given: inspect.attention_map(inspect.intermediates(after.model, *given), pool))
    components = [np.asarray(inspect.patch_filters(kernel, filters)) for kernel in kernels]
    similar = [np.asarray(inspect.position_similarity(grid)) for grid in (grids[0], interpolated, grids[1])]
    return Inside(
        filters=(components[0], components[1]),
        similarities=(similar[0], similar[1], similar[2]),
        attention=np.asarray(look(after.parameters, seen)),
    )


def some_of_each(true: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of the first `count` images of each class, class by class."""
    return np.concatenate([np.flatnonzero(true == label)[:count] for label in np.unique(true)])


def neighbour_share(known: Source, asked: Source) -> Share:
    """Returns how well the nearest neighbour among `known` names the images of `asked`."""
    images, labels = stacked(asked)
    return Share(float((nearest_neighbour(*stacked(known), images) == labels).mean()), len(labels))
