"""A file of somebody's weights: its arrays, and all that lies in it or beside it that tells what they are."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from vit_jax.errors import UserError
from vit_jax.weights import npz, safetensors, torch_pickle
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.rename import Arrays

# What a folder holds its weights in: one file, or shards that an index lists.
WHOLE = ("model.safetensors", "pytorch_model.bin")
INDEX = "model.safetensors.index.json"


@dataclasses.dataclass(frozen=True)
class File:
    """What there is to know a checkpoint by.

    Attributes:
      arrays: name to array; they may still lie on the disk, mapped into memory.
      config: the `config.json` beside it, as timm and Hugging Face write one; empty where there is none.
      preprocessor: the `preprocessor_config.json` beside it (Hugging Face); empty where there is none.
      notes: what we wrote into it: "recipe", "provenance", "activations"; empty in files of others.
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
    if place.is_dir():
        return _folder(place)
    read_arrays = READERS.get(place.suffix)
    if read_arrays is None:
        raise UserError(f"{place} is no file of weights; wanted a name in {', '.join(READERS)}, or a folder with one")
    return _beside(place, *read_arrays(place))


def is_weights(path: str | os.PathLike[str]) -> bool:
    """Returns whether `path` names what `read` takes, rather than a run or a checkpoint of ours."""
    place = epath.Path(path).expanduser()
    return place.suffix in READERS or any((place / name).exists() for name in (*WHOLE, INDEX))


def _folder(folder: epath.Path) -> File:
    for name in WHOLE:
        if (folder / name).exists():
            return read(folder / name)
    index = folder / INDEX
    if index.exists():
        return _beside(index, _shards(index), {})
    raise UserError(f"{folder} holds no model.safetensors, and no index of its shards; name the file of weights itself")


def shards(index: epath.Path) -> list[str]:
    """Returns the names of the files that an index names, all of its own folder, or raises UserError."""
    return sorted(set(_weight_map(index).values()))


def _weight_map(index: epath.Path) -> dict[str, str]:
    weight_map = json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise UserError(f"{index} has no weight_map from names of arrays to names of files; download it again")
    for name in weight_map.values():
        if os.path.basename(name) != name or name.startswith("."):
            raise UserError(f'{index} names the file "{name}", which is not in its own folder; it is not read')
    return weight_map


def _shards(index: epath.Path) -> Arrays:
    """Returns the arrays of all the files that an index names."""
    arrays: dict[str, Any] = {}
    for name in shards(index):
        arrays |= safetensors.read(index.parent / name)[0]
    if odd := sorted(set(arrays) ^ set(_weight_map(index))):
        raise UserError(f"{index} and its files differ in {len(odd)} arrays, such as {odd[0]}; download them again")
    return arrays


def _beside(place: epath.Path, arrays: Arrays, notes: Mapping[str, Any]) -> File:
    names = ("config.json", "preprocessor_config.json")
    config, preprocessor = (json_object(path) if (path := place.parent / name).exists() else {} for name in names)
    return File(arrays, config, preprocessor, notes, os.fspath(place))


def json_object(path: epath.Path) -> dict[str, Any]:
    """Returns the JSON object in a file; raises UserError if it holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); download it again") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is no JSON object; download it again")
    return found


def write(file: File, path: str | os.PathLike[str]) -> None:
    """Writes `file` to `path`: an `.npz`, or else a folder, as timm and Hugging Face read one.

    Nothing half-written is left, and nothing that stands there is written over.
    """
    place = epath.Path(path).expanduser()
    if place.exists():
        raise UserError(f"{place} exists already; remove it, or write to another place")
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f".{place.name}.unfinished")
    try:
        if place.suffix == ".npz":
            npz.write(unfinished, file.arrays, file.notes)
        else:
            unfinished.mkdir(parents=True, exist_ok=True)
            safetensors.write(unfinished / "model.safetensors", file.arrays, file.notes)
            for name, content in (("config.json", file.config), ("preprocessor_config.json", file.preprocessor)):
                if content:
                    (unfinished / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        unfinished.rename(place)
    except OSError as error:
        raise UserError(f"cannot write {place}: {error.strerror or error}") from None
    finally:
        if unfinished.exists():
            unfinished.rmtree() if unfinished.is_dir() else unfinished.unlink()


READERS: dict[str, Callable[[epath.Path], tuple[Arrays, Mapping[str, Any]]]] = {
    ".npz": npz.read,
    ".safetensors": safetensors.read,
    ".pth": torch_pickle.read,
    ".pt": torch_pickle.read,
    ".bin": torch_pickle.read,
}
