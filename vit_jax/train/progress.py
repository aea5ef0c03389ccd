"""What a run says while it runs: a bar in a terminal or plain lines elsewhere, JSON lines, TensorBoard, a profile."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import jax
import numpy as np
import rich.console
import rich.progress

from vit_jax.errors import UserError
from vit_jax.evaluate.exam import Result

T = TypeVar("T")
U = TypeVar("U")


class NotFiniteError(ArithmeticError):
    """The loss, the gradient or the parameters are no longer numbers."""


class Log:
    """Writes a run's metrics.

    Args:
      workdir: gets `metrics.jsonl`, the record to trust, and `tensorboard/`.
      first_step, steps: where the run starts and ends.
      batch_size: for images a second.
      every: training metrics are written each time this many steps were taken.
      tensorboard: whether to write for TensorBoard too.
      stream: where the bar or the lines go.
    """

    # How many steps' metrics stay on the devices before the oldest is read, so that reading never waits.
    BEHIND = 2

    def __init__(
        self,
        workdir: Path,
        first_step: int,
        steps: int,
        batch_size: int,
        every: int = 50,
        tensorboard: bool = True,
        stream: IO[str] = sys.stderr,
    ):
        if every < 1:
            raise UserError(f"log.every is at least 1; got {every}")
        self.steps, self.batch_size, self.every = steps, batch_size, every
        self._stream = stream
        self._lines = _open_after(workdir / "metrics.jsonl", first_step)
        self._board = _tensorboard(workdir / "tensorboard", first_step) if tensorboard else None
        self._bar = _Bar(first_step, steps, stream) if stream.isatty() else None
        self._waiting: list[tuple[int, dict[str, jax.Array]]] = []
        self._timed_step, self._timed = first_step, time.perf_counter()
        self._waited = 0.0
        self._unreadable = 0

    def training(self, step: int, metrics: dict[str, jax.Array], unreadable: int = 0) -> None:
        """Takes the metrics of the step that led to `step`, and how many images could not be read so far.

        Looks at an earlier step's metrics, for the devices to go on meanwhile.

        Raises:
          NotFiniteError: a loss or a gradient that is not a number.
        """
        self._unreadable = unreadable
        self._waiting.append((step, metrics))
        if len(self._waiting) > self.BEHIND:
            self._read_oldest()

    def timed(self, fetch: Callable[[T], U], source: T) -> U:
        """Returns `fetch(source)`; the time that it takes is logged as waiting for data."""
        asked = time.perf_counter()
        fetched = fetch(source)
        self._waited += time.perf_counter() - asked
        return fetched

    def settle(self) -> None:
        """Looks at all metrics that are still waiting; raises NotFiniteError as `training` does."""
        while self._waiting:
            self._read_oldest()

    def evaluation(self, step: int, result: Result) -> None:
        """Writes an evaluation's result; the time that it took counts for no step."""
        self._write(step, {f"evaluation/{name}": value for name, value in result.as_dict().items()})
        self.say(f"step {step:,}: {result}")
        self._timed_step, self._timed, self._waited = step, time.perf_counter(), 0.0

    def say(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        if self._bar:
            self._bar.progress.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar and closes the files."""
        if self._bar:
            self._bar.progress.stop()
        if self._board:
            self._board.close()
        self._lines.close()

    def _read_oldest(self) -> None:
        step, waiting = self._waiting.pop(0)
        metrics = {name: float(value) for name, value in jax.device_get(waiting).items()}
        watched = {name: metrics[name] for name in ("loss", "gradient_norm", "parameter_norm")}
        if not np.isfinite(list(watched.values())).all():
            said = ", ".join(f"{name} {value}" for name, value in watched.items())
            raise NotFiniteError(f"step {step}: {said}; lower the learning rate, or clip with optimizer.clip_norm.")
        if step % self.every and step != self.steps:
            if self._bar:
                self._bar.advance(step)
            return
        seconds = time.perf_counter() - self._timed
        rate = (step - self._timed_step) * self.batch_size / seconds
        waited = self._waited / seconds
        self._timed_step, self._timed, self._waited = step, time.perf_counter(), 0.0
        averages = {"images_per_second": rate, "waited_for_data": waited, "unreadable_images": self._unreadable}
        self._write(step, {f"train/{name}": value for name, value in metrics.items()} | averages)
        if self._bar:
            self._bar.advance(step, f"loss {metrics['loss']:.4f}  {rate:,.0f} images/s")
        else:
            left = (self.steps - step) * self.batch_size / rate
            self.say(
                f"step {step:,}/{self.steps:,}  loss {metrics['loss']:.4f}  {rate:,.0f} images/s  "
                f"waited for data {waited:.0%}  {left:,.0f} s left"
            )

    def _write(self, step: int, metrics: dict[str, float]) -> None:
        self._lines.write(json.dumps({"step": step, "time": round(time.time(), 3)} | metrics) + "\n")
        self._lines.flush()
        if self._board:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)


class Profiler:
    """Records `steps` steps from `first_step` on into `workdir/profile`, for TensorBoard or xprof; 0 steps for none."""

    def __init__(self, workdir: Path, first_step: int = 10, steps: int = 0):
        self.folder = workdir / "profile"
        self.start, self.end = first_step, first_step + steps
        self._running = False

    def before(self, step: int) -> None:
        """Starts or ends the recording where `step` says so."""
        if self.start <= step < self.end and not self._running:
            jax.profiler.start_trace(str(self.folder))
            self._running = True
        elif step >= self.end:
            self.close()

    def close(self) -> None:
        """Ends the recording if it is running."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False


class _Bar:
    def __init__(self, first_step: int, steps: int, stream: IO[str]):
        columns = [
            rich.progress.MofNCompleteColumn(),
            rich.progress.BarColumn(),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("{task.description}"),
        ]
        self.progress = rich.progress.Progress(*columns, console=rich.console.Console(file=stream))
        self._task = self.progress.add_task("compiling", total=steps, completed=first_step)
        self.progress.start()

    def advance(self, step: int, description: str | None = None) -> None:
        self.progress.update(self._task, completed=step, description=description)


def _open_after(file: Path, step: int) -> IO[str]:
    """Opens a metrics file to go on after `step`; later lines, of steps that will be run again, are dropped."""
    if file.exists():
        lines = [line for line in file.read_text().splitlines() if _step_of(line) <= step]
        file.write_text("".join(line + "\n" for line in lines))
    return open(file, "a")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError):
        return float("inf")


def _tensorboard(folder: Path, first_step: int) -> Any:
    from tensorboardX import SummaryWriter  # takes a third of a second to import

    return SummaryWriter(str(folder), purge_step=first_step + 1)
