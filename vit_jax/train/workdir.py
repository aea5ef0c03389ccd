"""A run's folder: who is in it, what it was started with, and what it was started by."""

import fcntl
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import PIL.features

from vit_jax.errors import UserError
from vit_jax.train.manifest import write_atomically

# What may differ when a run goes on: how it is watched and kept and on how many devices, not what it computes.
FREE = ("log", "checkpoint", "profile", "threads", "processes", "mesh")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")
FAST = (
    "simplejpeg",
    "cykooz-resizer",
)  # used where a preprocess's decoder is "fast"


def local(path: str) -> Path:
    """Returns the folder that `path` names; raises UserError for an address such as gs://…"""
    if "://" in path:
        raise UserError(f"workdir {path} is an address; give a folder, a mounted bucket's if need be (gcsfuse)")
    return Path(path).expanduser()


@contextmanager
def occupied(workdir: Path) -> Iterator[None]:
    """Holds `workdir` for this process; raises UserError if another process holds it. Ends with the process."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = open(workdir / "lock", "a+")
    except OSError as error:
        raise UserError(f"workdir {workdir} cannot be written: {error.strerror}; choose another --workdir") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(f"{workdir} is in use by {lock.read()}; wait for it or choose another --workdir") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield


def check(workdir: Path, config: Mapping[str, Any]) -> None:
    """Raises UserError if `workdir` holds a run of another config; fields under `FREE` may change between starts."""
    if not (workdir / "config.json").exists():
        return
    before = config_of(workdir)
    differences = sorted(_differences(_semantic(before), _semantic(plain(config))))
    if differences:
        raise UserError(
            f"{workdir} holds a run of another config ({'; '.join(differences[:4])}); choose another --workdir"
        )


def config_of(workdir: Path) -> dict[str, Any]:
    """Returns the config of the run in `workdir`; raises UserError if there is none."""
    file = workdir / "config.json"
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise UserError(f"{workdir} holds no run (no config.json)") from None
    except ValueError:
        raise UserError(f"{file} is damaged; choose another --workdir") from None


def run_of(checkpoint: str) -> dict[str, Any]:
    """Returns the config of the run that a checkpoint belongs to; raises UserError if it lies in none."""
    folder = folder_of(checkpoint)
    if folder is None:
        raise UserError(f"{checkpoint} belongs to no run, so it says nothing of the data; give --data=FOLDER")
    return config_of(folder)


def folder_of(checkpoint: str) -> Path | None:
    """Returns the workdir of the run that a checkpoint belongs to, None if it lies in none."""
    folder = Path(checkpoint).absolute()
    return folder.parent.parent if folder.parent.name == "checkpoints" else None


def describe(workdir: Path, config: Mapping[str, Any]) -> None:
    """Writes `config.json`, and adds this start to `environment.json`, a list of one for each."""
    write_atomically(workdir / "config.json", json.dumps(plain(config), indent=1))
    file = workdir / "environment.json"
    starts = json.loads(file.read_text()) if file.exists() else []
    write_atomically(file, json.dumps([*starts, environment()], indent=1))


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config, or a section of it, as JSON has it: tuples become lists."""
    return json.loads(json.dumps(config))


def environment() -> dict[str, Any]:
    """Returns what the run depends on besides its config: versions, devices, the git commit if there is one."""
    return {
        "vit_jax": importlib.metadata.version("vit-jax"),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": [str(device) for device in jax.devices()],
        "device_kind": jax.devices()[0].device_kind,
        "packages": {name: importlib.metadata.version(name) for name in (*PACKAGES, *filter(_is_installed, FAST))},
        "libjpeg_turbo": PIL.features.version_feature("libjpeg_turbo"),  # Pillow's own
        "command": sys.argv,
    }


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _git_commit() -> str | None:
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() + (" with changes" if changes.stdout else "") if commit.returncode == 0 else None


def _semantic(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in FREE}


def _differences(before: Any, now: Any, name: str = "config") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}")
    elif before != now:
        yield f"{name} was {before}, is {now}"
