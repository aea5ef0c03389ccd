"""What a config names, built: each section is unpacked into exactly one constructor."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vit_jax import data, models, objectives, parallel
from vit_jax.data import pipeline
from vit_jax.errors import UserError, construct
from vit_jax.evaluate import exam as exams
from vit_jax.evaluate.classify import Classifier
from vit_jax.evaluate.held_out import HeldOut
from vit_jax.objectives import Objective
from vit_jax.train import optimizers, sharpness, steps, teacher
from vit_jax.train.averages import Average
from vit_jax.train.config import Config
from vit_jax.train.workdir import plain
from vit_jax.weights.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that the loop runs, but for the state and where it is kept; `summary` is a line for people."""

    summary: str
    mesh: Mesh
    objective: Objective
    optimizer: optax.GradientTransformation
    average: Average
    train_step: Callable[[steps.State, steps.Batch], tuple[steps.State, steps.Metrics]]
    batches: pipeline.Batches
    examiner: exams.Examiner
    exam: exams.Exam
    recipe: Recipe


def build(config: Config) -> Experiment:
    """Returns the experiment of `config`; raises UserError for what does not fit itself or the data."""
    # First what is quick to check; JAX looks for devices when the mesh is made.
    source, batches = construct(
        data.training, "config.train", config.source, config.image_size, config.batch_size, config.seed,
        config.threads, config.processes, **config.train,
    )  # fmt: skip
    exam = construct(
        exams.build, "config.evaluate", config.source, config.image_size, source, config.threads, config.processes,
        **config.evaluate,
    )  # fmt: skip
    if "classes" in config.model:
        raise UserError("config.model has no field classes: their number is that of the data's classes")
    known = source.class_names if construct(objectives.names_classes, "config.objective", **config.objective) else ()
    model = construct(models.build, "config.model", classes=len(known), **config.model)
    optimizer, rate = construct(optimizers.build, "config.optimizer", config.steps, **config.optimizer)
    average = construct(Average, "config.average", **config.average)
    flatter = construct(
        sharpness.build, "config.sharpness", rate, config.optimizer["peak_learning_rate"], config.steps,
        **config.sharpness,
    )  # fmt: skip
    mesh = construct(parallel.make_mesh, "config.mesh", **config.mesh)
    learning = dict(config.objective)
    if learning.get("kind") == "distillation" and "teacher" in learning:
        learning["teacher"] = teacher.load(learning["teacher"], mesh, config.image_size, known)
    objective = construct(objectives.build, "config.objective", model, **config.value_range, **learning)
    _refuse_at_once(objective, config.image_size, source.most_labels)
    parallel.check_batch_size(mesh, config.batch_size, config.accumulate)
    parallel.check_batch_size(mesh, exam.batches.batch_size)
    names = ", ".join(source.class_names[:5]) + (", …" if len(source.class_names) > 5 else "")
    return Experiment(
        summary=f"{len(source):,} images of {len(source.class_names):,} classes ({names})",
        mesh=mesh,
        objective=objective,
        optimizer=optimizer,
        average=average,
        train_step=steps.make_train_step(
            objective,
            optimizer,
            rate,
            config.seed,
            config.accumulate,
            rates=config.optimizer.get("rates", ()),
            average=average,
            sharpness=flatter,
        ),
        batches=batches,
        examiner=Classifier(model, mesh, objective.mean, objective.std, objective.loss)
        if objective.names_classes
        else HeldOut(objective, mesh),
        exam=exam,
        recipe=Recipe(
            model=plain(config.model) | {"classes": len(known)},
            image_size=config.image_size,
            mean=objective.mean,
            std=objective.std,
            preprocess=plain(config.evaluate["preprocess"]),
            loss=objective.loss,
            class_names=known,
            position_resize="linear",
            source="",
        ),
    )


def _refuse_at_once(objective: Objective, image_size: tuple[int, int], most_labels: int | None) -> None:
    """Raises UserError if the objective cannot prepare images of this size, before anything is written."""
    labels = (2,) if most_labels is None else (2, most_labels)
    image = jax.ShapeDtypeStruct((2, *image_size, 3), jnp.uint8)
    batch = {"image": image, "label": jax.ShapeDtypeStruct(labels, jnp.int32)}
    jax.eval_shape(objective.prepare, batch, jax.random.key(0))
