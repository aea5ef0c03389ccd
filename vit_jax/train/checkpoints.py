"""Checkpoints: arrays by Orbax, a recipe beside them, a manifest of hashes over both. The one file that knows Orbax.

A checkpoint is a folder `checkpoints/00000500` of a run's workdir.
"""

import logging
import math
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from etils import epath

from vit_jax.errors import UserError
from vit_jax.shapes import Parameters, PyTree
from vit_jax.train import manifest
from vit_jax.train.manifest import MANIFEST, RECIPE, Checkpoint, verified
from vit_jax.train.steps import State
from vit_jax.weights.recipe import Recipe


def newest(folder: Path) -> Checkpoint | None:
    """Returns the newest good checkpoint in `folder`, naming each bad one it passes over; None if there is none."""
    for path in sorted(step_folders(folder), reverse=True):
        try:
            return verified(path)
        except UserError as error:
            logging.warning("checkpoint passed over: %s", error)
    return None


def find(path: str | Path) -> Checkpoint:
    """Returns the good checkpoint at `path`: a checkpoint's own folder, or a run's, whose best (else newest) is meant.

    Raises:
      UserError: nothing good is there.
    """
    path = Path(path).expanduser().absolute()
    if (path / MANIFEST).exists():
        return verified(path)
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    finished = [checkpoint for checkpoint in map(_finished, step_folders(folder)) if checkpoint]
    best = max(finished, key=_rank, default=None)
    if best and best.score is not None:
        try:
            return verified(best.path)
        except UserError as error:
            logging.warning("checkpoint passed over: %s", error)
    found = newest(folder)
    if found is None:
        raise UserError(f"no good checkpoint in {folder}; give a run's workdir or a checkpoint's folder")
    return found


def restore_state(checkpoint: Checkpoint, like: State) -> State:
    """Returns the whole training state, laid out as the arrays (or shapes with shardings) of `like`."""
    wanted = {name: ocp.args.StandardRestore(_abstract(item)) for name, item in _items(like).items()}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        found = checkpointer.restore(checkpoint.path.absolute(), args=ocp.args.Composite(**wanted))
    evaluated, training = found["parameters"], found["training"]
    if like.average is None:
        return State(training["step"], evaluated, training["optimizer"])
    return State(training["step"], training["parameters"], training["optimizer"], evaluated)


def _items(state: State) -> dict[str, PyTree]:
    """Returns what to use afterwards, which other runs and tools read, and what else it takes to go on."""
    training = {"step": state.step, "optimizer": state.optimizer_state}
    if state.average is not None:
        training["parameters"] = state.parameters
    return {"parameters": state.evaluated, "training": training}


def restore_parameters(checkpoint: Checkpoint) -> Parameters:
    """Returns the parameters alone, all that were learned (their average, if any), on this process's first device."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    path = epath.Path(checkpoint.path.absolute())
    shapes = ocp.StandardCheckpointHandler().metadata(path / "parameters").tree
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), shapes)
    wanted = ocp.args.Composite(parameters=ocp.args.StandardRestore(like))
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(path, args=wanted)["parameters"]


class Keeper:
    """Writes a run's checkpoints in the background; keeps the last few and the best few.

    Args:
      folder: where; made if it is not there. Half-written checkpoints in it are removed, damaged ones set aside.
      recipe: goes into every checkpoint.
      every: a checkpoint is due each time this many steps were taken.
      keep_last: how many of the newest stay.
      keep_best: how many of those with the highest score stay, besides.
    """

    def __init__(self, folder: Path, recipe: Recipe, every: int, keep_last: int = 2, keep_best: int = 1):
        if every < 1 or keep_last < 1 or keep_best < 0:
            raise UserError("checkpoint.every and keep_last are at least 1, keep_best at least 0")
        self.folder, self.recipe = folder, recipe
        self.every, self.keep_last, self.keep_best = every, keep_last, keep_best
        folder.mkdir(parents=True, exist_ok=True)
        _set_aside(folder)
        self._checkpointer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def due(self, step: int) -> bool:
        """Says whether `step` is one to save."""
        return step % self.every == 0

    def save(self, state: State) -> None:
        """Copies the state off the devices and returns; writing goes on in the background.

        Raises:
          OSError, ValueError: the checkpoint before this one could not be written.
        """
        self.wait()
        step = int(state.step)
        path = (self.folder / f"{step:08}").absolute()
        if path.exists():
            return
        arrays = {name: ocp.args.StandardSave(item) for name, item in _items(state).items()}
        self._checkpointer.save(path, args=ocp.args.Composite(**arrays))
        self._pending = self._finisher.submit(self._finish, path, step)

    def score(self, step: int, score: float) -> None:
        """Notes how well the model of the checkpoint at `step` did; the best are kept by it."""
        self.wait()
        manifest.rescore(self.folder / f"{step:08}", score)
        self._prune()

    def poll(self) -> None:
        """Raises what went wrong in the background, as soon as it is known."""
        if self._pending and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Returns when all that was saved is on disk and hashed."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def close(self) -> None:
        """Waits, then ends the background threads."""
        try:
            self.wait()
        finally:
            self._finisher.shutdown()
            self._checkpointer.close()

    def _finish(self, path: Path, step: int) -> None:
        self._checkpointer.wait_until_finished()
        manifest.write_atomically(path / RECIPE, self.recipe.to_json())
        manifest.write(path, step)
        self._prune()

    def _prune(self) -> None:
        finished = [checkpoint for checkpoint in map(_finished, step_folders(self.folder)) if checkpoint]
        scored = sorted((c for c in finished if c.score is not None), key=_rank, reverse=True)
        kept = {c.path for c in finished[-self.keep_last :] + scored[: self.keep_best]}
        for checkpoint in finished:
            if checkpoint.path not in kept:
                _remove(checkpoint.path)


def step_folders(folder: Path) -> list[Path]:
    """Returns the folders of `folder` that are named by a step, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir() and path.name.isdigit())


def _rank(checkpoint: Checkpoint) -> tuple[float, int]:
    return (-math.inf if checkpoint.score is None else checkpoint.score, checkpoint.step)


def _finished(path: Path) -> Checkpoint | None:
    try:
        return manifest.read(path)
    except UserError:
        return None


def _remove(path: Path) -> None:
    (path / MANIFEST).unlink(missing_ok=True)  # first, so that a removal cut short leaves no believable checkpoint
    shutil.rmtree(path)


def _set_aside(folder: Path) -> None:
    """Removes what was never finished and renames what is damaged; raises UserError if nothing good is left by that."""
    unfinished = [path for path in step_folders(folder) if not (path / MANIFEST).exists()]
    for path in [*unfinished, *folder.glob("[0-9]*.orbax-checkpoint-tmp*")]:
        _remove(path)
    damaged = [path for path in step_folders(folder) if not _good(path)]
    if damaged and len(damaged) == len(step_folders(folder)):
        raise UserError(f"every checkpoint in {folder} is damaged; move the folder away to start anew")
    for path in damaged:
        taken = len(list(folder.glob(f"{path.name}.damaged*")))
        path.rename(path.with_name(f"{path.name}.damaged{taken or ''}"))


def _good(path: Path) -> bool:
    try:
        return bool(verified(path))
    except UserError:
        return False


def _abstract(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)
