"""What names of published weights stand for, and where their files then lie.

`google:imagenet21k/ViT-B_16`, `augreg:B/16`, `timm:vit_base_patch16_224.augreg_in21k`, `hf:google/vit-base-patch16-224`
and `gs://bucket/name.npz`.
"""

import csv
import difflib
import importlib
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from etils import epath

from vit_jax.errors import UserError, did_you_mean, pick
from vit_jax.weights import files
from vit_jax.weights.names import cache, download

# A table a prefix, of the names that are known.
PUBLISHED = Path(__file__).parents[1] / "published"

# google-research/vision_transformer, README.md
GOOGLE_BUCKET = "vit_models"
GOOGLE_FOLDERS = ("augreg", "gsam", "imagenet21k", "imagenet21k+imagenet2012", "sam")

# The variable that names another host, and the host.
GOOGLE = ("VIT_JAX_GOOGLE_ENDPOINT", "https://storage.googleapis.com")
HUGGING_FACE = ("HF_ENDPOINT", "https://huggingface.co")


def local(name: str | os.PathLike[str]) -> str:
    """Returns the path of what `name` stands for, which is fetched if it is not in the cache; a path stands for itself.

    big_vision's `file.npz:img` is `file.npz`, of which the image encoder is read anyhow (weights.nesting).

    Raises:
      UserError: a name of nothing, or whatever keeps its files from coming, in a line.
    """
    name = os.fspath(name)
    if os.path.exists(name):
        return name
    if subtree := re.fullmatch(r"(.+\.npz):(.*)", name):
        name, part = str(subtree[1]), str(subtree[2])
        if part != "img":
            raise UserError(f'of {name} only the image encoder is read, "img"; got ":{part}"')
        return local(name)
    found = re.fullmatch(r"([A-Za-z]\w+):(.+)", name)  # a letter alone is a drive
    if not found:
        return name
    prefix, rest = found.groups()
    if prefix not in PREFIXES and rest.startswith("//"):
        raise UserError(f"weights are a path, a name or gs://bucket/name.npz; got {name}: download it first")
    return os.fspath(pick(PREFIXES, prefix, "kind of weights")(rest, name))


def published() -> list[str]:
    """Returns the names that are known, sorted; `local` takes others as well."""
    names = []
    for table in PUBLISHED.glob("*.csv"):
        with table.open(encoding="utf-8", newline="") as file:
            names += [f"{table.stem}:{row['name']}" for row in csv.DictReader(file)]
    return sorted(names)


def _google(path: str, name: str) -> Path:
    folder = path.partition("/")[0]
    if folder not in GOOGLE_FOLDERS:
        raise UserError(f'gs://{GOOGLE_BUCKET} has no folder "{folder}".{did_you_mean(folder, GOOGLE_FOLDERS)}')
    return _object(f"{GOOGLE_BUCKET}/{path.removesuffix('.npz')}.npz", name)


def _augreg(wanted: str, name: str) -> Path:
    """Fetches the model of a size that did best on the validation images of its own pre-training, on ImageNet-21k.

    So AugReg advises (2106.10270, "choosing which pre-trained model to transfer"). After an @ may stand what that model
    was then fine-tuned on, and at how many pixels: "B/16@imagenet2012,384".
    """
    size, _, task = wanted.partition("@")
    index = _object(f"{GOOGLE_BUCKET}/augreg/index.csv", "the index of AugReg's checkpoints")
    with index.open(encoding="utf-8", newline="") as file:
        of_size: dict[str, list[dict[str, str]]] = {}
        for row in csv.DictReader(file):  # one for each time that a model was fine-tuned
            if row["ds"] == "i21k":
                of_size.setdefault(row["name"], []).append(row)
    rows = pick(of_size, size, "size of AugReg's")
    best = max(rows, key=lambda row: float(row["final_val"]))["filename"]
    if task:
        tuned = sorted((row for row in rows if row["filename"] == best), key=lambda row: float(row["adapt_final_val"]))
        tasks = {f"{row['adapt_ds']},{float(row['adapt_resolution']):g}": row["adapt_filename"] for row in tuned}
        best = pick(tasks, task, f"task of {size}")
    return _object(f"{GOOGLE_BUCKET}/augreg/{best}.npz", name)


def _bucket(path: str, name: str) -> Path:
    return _object(path.removeprefix("//"), name)


def _object(path: str, name: str) -> Path:
    """Fetches `bucket/name` of Google Cloud Storage: as anybody may, or else with what gcsfs knows of this machine."""
    place, address = cache.place(f"gs/{path}"), f"{_endpoint(*GOOGLE)}/{quote(path)}"
    try:
        return cache.fetch(address, place, name)
    except download.RefusedError as error:
        if error.status == 404:
            raise UserError(f"there is no {name} ({address}).{_nearest(name)}") from None
        if error.status not in (401, 403):
            raise
    try:
        gcsfs: Any = importlib.import_module("gcsfs")
    except ImportError:
        raise UserError(
            f"{name} is not public, or not there ({address}); to fetch it with the credentials of this machine, "
            "install gcsfs, the extra [gcs]"
        ) from None
    try:
        gcsfs.GCSFileSystem().get_file(path, os.fspath(download.unfinished_of(place)))
    except Exception as error:
        raise UserError(f"{name} is not public, and gcsfs cannot fetch it either: {error}") from None
    return download.unfinished_of(place).rename(place)


def _timm(repository: str, name: str) -> Path:
    return _repository(f"timm/{repository}", name)


def _repository(wanted: str, name: str) -> Path:
    """Fetches what is read of a repository of Hugging Face, all at the commit that its branch is at now: weights, their
    config, and the card, which names the license.

    "@" and a branch, a tag or a commit may stand behind its name; without, "main" is meant.
    """
    repository, _, revision = wanted.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"{name} names no repository of Hugging Face; write it as in hf:google/vit-base-patch16-224")
    host, token = _endpoint(*HUGGING_FACE), os.environ.get("HF_TOKEN", "").strip()
    folder = cache.place(f"hf/{repository}/{revision or 'main'}")
    if _is_whole(folder):
        return folder

    def fetch(file: str) -> Path:
        commit = download.promises(folder / "config.json").get("commit") or revision or "main"
        address = f"{host}/{repository}/resolve/{quote(commit, safe='')}/{quote(file)}"
        return cache.fetch(address, folder / file, f"{file} of {name}", token)

    def has(file: str) -> bool:
        try:
            return bool(fetch(file))
        except download.RefusedError as error:
            if error.status == 404:
                return False
            raise

    try:
        fetch("config.json")
        has("preprocessor_config.json")
        has("README.md")
        if not has("model.safetensors"):
            if has(files.INDEX):
                for shard in files.shards(epath.Path(folder / files.INDEX)):
                    fetch(shard)
            elif not (importlib.util.find_spec("torch") and has("pytorch_model.bin")):
                raise UserError(f"{name} has no model.safetensors, and a pickle is read only where torch is installed")
        return folder
    except download.RefusedError as error:
        if error.reason == "GatedRepo" or error.status == 403:
            mine = f"set HF_TOKEN to a token of yours ({host}/settings/tokens)"
            raise UserError(f"{name} is gated: accept its terms at {host}/{repository}, and {mine}") from None
        if error.status in (401, 404):
            private = "" if token else " If it is private, set HF_TOKEN."
            raise UserError(f"{name} is not there, or not for all ({error}).{_nearest(name)}{private}") from None
        raise


def _is_whole(folder: Path) -> bool:
    if (folder / files.INDEX).exists():
        return all((folder / shard).exists() for shard in files.shards(epath.Path(folder / files.INDEX)))
    return any((folder / file).exists() for file in files.WHOLE)


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, published(), n=1)
    return f' Did you mean "{near[0]}"?' if near else " vit_jax.list_models() has the names that are known."


def _endpoint(variable: str, public: str) -> str:
    host = os.environ.get(variable) or public
    if not host.startswith(("https://", "http://")):
        raise UserError(f"{variable} is {host}; write it as in {public}")
    return host.rstrip("/")


PREFIXES: dict[str, Callable[[str, str], Path]] = {
    "augreg": _augreg,
    "google": _google,
    "gs": _bucket,
    "hf": _repository,
    "timm": _timm,
}
