"""A file of somebody's weights: its arrays, and all that lies in it or beside it that tells what they are."""

import dataclasses
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from vit_jax.errors import UserError, one_line
from vit_jax.weights.files import npz, safetensors, strict_json, torch_pickle
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.rename import Arrays

# What a folder holds its weights in: one file, or shards that an index lists.
WHOLE = ("model.safetensors", "pytorch_model.bin")
INDEX = "model.safetensors.index.json"
LONGEST_NAME = 300  # characters of an array's name


@dataclasses.dataclass(frozen=True)
class File:
    """What there is to know a checkpoint by.

    Attributes:
      arrays: name to array; they may still lie on the disk, mapped into memory.
      config: the `config.json` beside it, as timm and Hugging Face write one; empty where there is none.
      preprocessor: the `preprocessor_config.json` beside it (Hugging Face); empty where there is none.
      notes: what we wrote into it: "recipe", "provenance", "activations", "sha256" of its arrays; empty in files of
        others.
      place: where it was found.
    """

    arrays: Arrays
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    preprocessor: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    place: str = ""

    @property
    def recipe(self) -> Recipe | None:
        """The recipe that we wrote into the file; None in files of others."""
        return Recipe.from_json(json.dumps(self.notes["recipe"])) if "recipe" in self.notes else None


def read(path: str | os.PathLike[str]) -> File:
    """Returns what lies at `path`: an `.npz`, `.safetensors`, `.pth`, `.pt` or `.bin` file, or a folder as timm and
    Hugging Face write one, its weights in one file or in shards.

    Raises:
      UserError: nothing of that kind is there, or it is damaged, or unsafe to read.
    """
    if "://" in os.fspath(path):
        raise UserError(
            f"{os.fspath(path)} is an address, which weights.names.local fetches; here goes a file or folder"
        )
    place = epath.Path(path).expanduser()
    return _folder(place) if place.is_dir() else _file(place)


def is_weights(path: str | os.PathLike[str]) -> bool:
    """Returns whether `path` names what `read` takes, rather than a run or a checkpoint of ours."""
    place = epath.Path(path).expanduser()
    if place.is_dir():
        return any((place / name).exists() for name in (*WHOLE, INDEX))
    return place.suffix in READERS


def _file(place: epath.Path) -> File:
    if place.suffix not in READERS:
        what = "is no file of weights" if place.exists() else "does not exist"
        raise UserError(f"{place} {what}; wanted a name in {', '.join(READERS)}, or a folder with one")
    _refuse_pipes(place)
    arrays, notes = READERS[place.suffix](place)
    if odd := [name for name in arrays if len(name) > LONGEST_NAME or one_line(name) != name]:
        raise UserError(f"{place} has {len(odd)} arrays of names that are no names, such as {odd[0][:40]!r}")
    if place.suffix == ".npz":  # Google's stand alone: a config beside one, such as a run's, says nothing about it
        return File(arrays, notes=notes, place=os.fspath(place))
    return _beside(place, arrays, notes)


def _folder(folder: epath.Path) -> File:
    for name in WHOLE:
        if (folder / name).exists():
            return _file(folder / name)
    index = folder / INDEX
    if index.exists():
        return _beside(index, _shards(index), {})
    raise UserError(f"{folder} holds no {', '.join(WHOLE)} or {INDEX}; name the file of weights itself")


def shards(index: epath.Path) -> list[str]:
    """Returns the names of the files that an index names, all of its own folder, or raises UserError."""
    return sorted(set(_weight_map(index).values()))


def _weight_map(index: epath.Path) -> dict[str, str]:
    """Returns the names of arrays, and of the file that holds each: one in the index's own folder.

    The file there may itself be a link to elsewhere: Hugging Face's cache is made of such links.
    """
    weight_map = json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise UserError(f"{index} has no weight_map from names of arrays to names of files; download it again")
    for shard in weight_map.values():
        if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", shard):
            raise UserError(f"{index} names the file {shard[:80]!r}, which is no .safetensors in its own folder")
    return weight_map


def _shards(index: epath.Path) -> Arrays:
    weight_map = _weight_map(index)
    arrays: dict[str, np.ndarray] = {}
    for shard in shards(index):
        found = _file(index.parent / shard).arrays
        if odd := sorted(found.keys() ^ {name for name, of in weight_map.items() if of == shard}):
            raise UserError(f"{index} and {shard} differ in {len(odd)} arrays, such as {odd[0]}; download them again")
        arrays |= found
    return arrays


def _beside(place: epath.Path, arrays: Arrays, notes: Mapping[str, Any]) -> File:
    names = ("config.json", "preprocessor_config.json")
    config, preprocessor = (json_object(path) if (path := place.parent / name).exists() else {} for name in names)
    return File(arrays, config, preprocessor, notes, os.fspath(place))


def json_object(path: epath.Path) -> dict[str, Any]:
    """Returns the JSON object in a file; raises UserError if it holds something else."""
    _refuse_pipes(path)
    try:
        with path.open("rb") as file:
            return strict_json.parse(file.read(strict_json.MOST_BYTES + 1))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{path} is no whole JSON object ({str(error)[:200]}); download it again") from None


def _refuse_pipes(place: epath.Path) -> None:
    if os.path.exists(place) and not os.path.isfile(place):  # epath takes pipes for files; one would be waited for
        raise UserError(f"{place} is not a file")


def write(file: File, path: str | os.PathLike[str]) -> None:
    """Writes `file` to `path`: an `.npz`, or else a folder, as timm and Hugging Face read one.

    Its notes say the `digest` of its arrays. Nothing half-written is left, and nothing that stands there is written
    over, even if another has put it there meanwhile.

    Raises:
      UserError: something stands at `path`, or the disk is full, or an array is of a dtype that the format lacks.
    """
    refuse_taken(path)
    place = Path(path).expanduser()
    notes = {**file.notes, "sha256": digest(file.arrays)}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=place.parent) as folder:
            made = Path(folder, "made")
            if place.suffix == ".npz":
                npz.write(made, file.arrays, notes)
                place.touch(exist_ok=False)  # of two writers, the second fails here; a folder is never replaced
            else:
                _write_folder(made, file, notes)
            made.replace(place)
    except OSError as error:
        raise UserError(f"cannot write {place}: {error.strerror or error}") from None


def refuse_taken(path: str | os.PathLike[str]) -> None:
    """Raises UserError if `write` would not write to `path`: something is there, or it is not of a local folder."""
    if "://" in os.fspath(path):
        raise UserError(f"weights are written to a local place; got {path}: copy them there afterwards")
    place = Path(path).expanduser()
    if place.suffix in READERS and place.suffix != ".npz":
        raise UserError(f"{place} would be a folder that holds a model.safetensors; name it without {place.suffix}")
    if os.path.lexists(place):
        raise UserError(f"{place} exists already; remove it, or write to another place")


def _write_folder(folder: Path, file: File, notes: Mapping[str, Any]) -> None:
    folder.mkdir()
    safetensors.write(folder / "model.safetensors", file.arrays, notes)
    for name, content in (("config.json", file.config), ("preprocessor_config.json", file.preprocessor)):
        if content:
            text = json.dumps(content, indent=2, ensure_ascii=False)
            (folder / name).write_text(text + "\n", encoding="utf-8")


def digest(arrays: Arrays) -> str:
    """Returns the sha256 of all there is to arrays: names, dtypes, shapes and every bit; a second for each GB or so."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


READERS: dict[str, Callable[[epath.Path], tuple[Arrays, Mapping[str, Any]]]] = {
    ".npz": npz.read,
    ".safetensors": safetensors.read,
    ".pth": torch_pickle.read,
    ".pt": torch_pickle.read,
    ".bin": torch_pickle.read,
}
