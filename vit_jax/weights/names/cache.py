"""The folder where what was fetched is kept: never asked for again, fetched once however many ask at a time."""

import contextlib
import dataclasses
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import rich.console
import rich.progress

from vit_jax.errors import UserError
from vit_jax.weights.names import download

WORTH_A_LINE = 2**20  # bytes; smaller files come without a word


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long a server is borne with.

    Attributes:
      attempts: how often in a row it may fail, without a byte that was not there before.
      wait: seconds after the first failure, doubled after each.
      most_wait: seconds that are waited at the most, whatever the server asks for.
      stall: seconds without a byte that count as a failure.
    """

    attempts: int = 5
    wait: float = 1.0
    most_wait: float = 60.0
    stall: float = 30.0


PATIENCE = Patience()


def place(path: str) -> Path:
    """Returns where a file of the cache lies, or will: in the folder VIT_JAX_CACHE, or else ~/.cache/vit_jax/weights.

    Raises:
      UserError: a path that would climb out of it.
    """
    odd = [part for part in path.split("/") if not part or part.startswith(".") or {"\\", "\0"} & set(part)]
    if odd:
        raise UserError(f'"{path}" is no name of published weights: it has a part "{odd[0]}"')
    return Path(os.environ.get("VIT_JAX_CACHE") or "~/.cache/vit_jax/weights").expanduser() / path


def offline() -> str:
    """Returns the setting that forbids the network, such as "HF_HUB_OFFLINE=1"; "" if none does."""
    settings = [(name, os.environ.get(name, "")) for name in ("VIT_JAX_OFFLINE", "HF_HUB_OFFLINE")]
    return next((f"{name}={value}" for name, value in settings if value.lower() in ("1", "on", "true", "yes")), "")


def fetch(address: str, place: Path, name: str, token: str = "") -> Path:
    """Returns `place`, where the file of this address then lies; if it does so already, no network is used.

    Args:
      address: https://…
      place: where it goes in the cache.
      name: what people call it.
      token: shown to the host of `address`, and to no other that it sends us to.

    Raises:
      RefusedError: the server has no such file, or not for us.
      UserError: no network, or too bad a one; another file than was promised; no room for it.
    """
    try:
        if place.exists():
            return place
        if forbidden := offline():
            raise UserError(
                f"{name} is not in the cache ({place}), and {forbidden} forbids the network; unset it, or put "
                f"{address} there by hand"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent):
            if not place.exists():
                _persist(address, place, name, token)
        return place
    except OSError as error:
        raise UserError(
            f"cannot write {place}: {error.strerror or error}; make room there, or set VIT_JAX_CACHE to another folder "
            "(what has come is kept, and only the rest will be fetched)"
        ) from None


def _persist(address: str, place: Path, name: str, token: str) -> None:
    """Attempts it until the file is there; raises UserError when PATIENCE is at an end."""
    failures = most = 0
    with _telling(name) as told:
        while True:
            try:
                return download.attempt(address, place, token, PATIENCE.stall, told)
            except download.BrokenOffError as error:
                came = download.size_of(download.unfinished_of(place))
                failures, most = (1, came) if came > most else (failures + 1, most)
                if failures >= PATIENCE.attempts:
                    raise UserError(
                        f"cannot fetch {name}: {error}, {failures} times in a row, and it is not in the cache "
                        f"({place}); try again later (what has come is kept), or put {address} there by hand"
                    ) from None
                wait = PATIENCE.wait * 2 ** (failures - 1) if error.wait is None else error.wait
                wait = min(wait, PATIENCE.most_wait)
                _say(f"{name}: {error}; again in {wait:.0f} s")
                time.sleep(wait)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds `folder` against all others that would fetch into it; they wait. Ends with the process."""
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"waiting for another that fetches into {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _telling(name: str) -> Iterator[download.Told]:
    """Yields what is to be told of progress: a bar in a terminal, a line at the start and one at the end elsewhere."""
    if sys.stderr.isatty():
        columns = (rich.progress.DownloadColumn(), rich.progress.TransferSpeedColumn())
        columns = (*rich.progress.Progress.get_default_columns(), *columns)
        with rich.progress.Progress(*columns, console=rich.console.Console(stderr=True)) as bar:
            task = bar.add_task(name, total=None)
            yield lambda came, size: bar.update(task, completed=came, total=size)
        return
    began = time.monotonic()
    large = False

    def told(came: int, size: int | None) -> None:
        nonlocal large
        if not large and (size or came) >= WORTH_A_LINE:
            large = True
            _say(f"fetching {name}" + (f", {size / 2**20:.0f} MiB" if size else ""))

    yield told
    if large:
        _say(f"fetched {name} in {time.monotonic() - began:.0f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
