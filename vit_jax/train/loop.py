"""The one training loop: pretraining, fine-tuning, and whatever else an objective asks for."""

import dataclasses
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

from vit_jax import parallel
from vit_jax.data import augment
from vit_jax.errors import UserError, construct
from vit_jax.evaluate.exam import Result
from vit_jax.train import checkpoints, experiment, start, steps, workdir
from vit_jax.train.checkpoints import Checkpoint, Keeper
from vit_jax.train.config import Config
from vit_jax.train.experiment import Experiment
from vit_jax.train.interrupt import Interrupt, listening
from vit_jax.train.progress import Log, NotFiniteError, Profiler
from vit_jax.train.steps import State
from vit_jax.weights.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: the step it reached, its last evaluation if it got that far, its process's exit code."""

    step: int
    result: Result | None
    exit_code: int


def train(config: Config, folder: Path, stream: IO[str] = sys.stderr) -> Outcome:
    """Trains the model of `config`, from wherever the run in `folder` left off, and evaluates it.

    SIGTERM and Ctrl-C save and return; the same call then goes on, and ends bit for bit as if uninterrupted.

    Raises:
      UserError: the config does not fit itself, the data, the weights or the folder.
    """
    run = experiment.build(config)
    with workdir.occupied(folder), listening() as interrupt:
        workdir.check(folder, dataclasses.asdict(config))
        checkpoint = checkpoints.newest(folder / "checkpoints")
        recipe, state = begin(run, config, checkpoint)
        workdir.describe(folder, dataclasses.asdict(config))
        keeper = construct(Keeper, "config.checkpoint", folder / "checkpoints", recipe, **config.checkpoint)
        profiler = construct(Profiler, "config.profile", folder, **config.profile)
        first = int(state.step)
        log = construct(Log, "config.log", folder, first, config.steps, config.batch_size, stream=stream, **config.log)
        with closing(keeper), closing(profiler), closing(log):
            log.say(run.summary)
            result = None
            if checkpoint and run.exam.due(first, config.steps) and (checkpoint.score is None or first == config.steps):
                result = run.exam.hold(run.examiner, state.evaluated)
            if result and checkpoint and checkpoint.score is None:  # the run was interrupted before it could
                log.evaluation(first, result)
                keeper.score(first, result.score)
            return go_on(run, config, state, keeper, profiler, log, interrupt, result)


def begin(run: Experiment, config: Config, checkpoint: Checkpoint | None) -> tuple[Recipe, State]:
    """Returns the recipe and the state to go on from: the checkpoint's, else what the config says to start from."""
    if checkpoint:
        if checkpoint.recipe.class_names != run.recipe.class_names:
            raise UserError(
                f"{checkpoint.path} was trained on other classes than the data has now; give it the data that it was "
                "trained on, or choose another --workdir"
            )
        layout = steps.layout_of(run.mesh, run.optimizer, run.objective, config.image_size, run.average)
        return checkpoint.recipe, checkpoints.restore_state(checkpoint, layout)
    recipe, parameters = construct(
        start.parameters, "config.weights", run.objective, run.recipe, config.seed, **config.weights
    )
    return recipe, steps.initial_state(run.mesh, run.optimizer, parameters, run.average)


def go_on(
    run: Experiment,
    config: Config,
    state: State,
    keeper: Keeper,
    profiler: Profiler,
    log: Log,
    interrupt: Interrupt,
    result: Result | None,
) -> Outcome:
    """Takes the steps that are left; evaluates and saves when that is due, and when the run is told to stop."""
    first = step = int(state.step)
    try:
        with run.batches.since(step) as batches:
            while step < config.steps:
                profiler.before(step)
                batch = log.timed(next, batches)
                if step == first:
                    augment.look(batch["image"], run.recipe.mean, run.recipe.std)
                state, metrics = run.train_step(state, parallel.place_batch(run.mesh, batch))
                step += 1
                log.training(step, metrics, len(run.batches.tally.found))
                keeper.poll()
                stopping = interrupt.signal  # asked once: a signal from here on is for the next step
                examine = run.exam.due(step, config.steps) and not stopping
                if examine or keeper.due(step) or stopping:
                    log.settle()  # no checkpoint holds what is not a number
                    keeper.save(state)
                if examine:
                    result = run.exam.hold(run.examiner, state.evaluated)
                    log.evaluation(step, result)
                    keeper.score(step, result.score)
                if stopping:
                    keeper.wait()
                    log.say(f"{stopping.name} at step {step:,}: saved; the same command goes on from there")
                    return Outcome(step, None, interrupt.exit_code)
    except UserError:  # an image that cannot be read, say: what was learned so far is good
        with suppress(NotFiniteError):  # no checkpoint holds what is not a number
            log.settle()
            keeper.save(state)
        raise
    except NotFiniteError as error:
        keeper.wait()
        kept = checkpoints.newest(keeper.folder)
        log.say(f"error: {error} " + (f"The last good checkpoint is {kept.path}." if kept else "None was saved yet."))
        return Outcome(step, None, exit_code=1)
    keeper.wait()
    return Outcome(step, result, exit_code=0)
