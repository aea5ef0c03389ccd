"""A checkpoint's manifest: a hash of each of its files, so that a damaged one is noticed.

Orbax restores flipped bits without a word. So `manifest.json` is written last, and a folder without one was never
finished; and every file is hashed again before it is believed.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from vit_jax.errors import UserError
from vit_jax.weights.recipe import Recipe

MANIFEST = "manifest.json"
RECIPE = "recipe.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint on disk. `score` is the evaluation's at that step, if there was one."""

    path: Path
    step: int
    score: float | None
    hashes: dict[str, str]

    @property
    def recipe(self) -> Recipe:
        """What the arrays mean: model, preprocessing, class names."""
        return Recipe.from_json((self.path / RECIPE).read_text())


def write(path: Path, step: int) -> None:
    """Hashes every file below `path` and, by that, declares the checkpoint finished."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != MANIFEST)
    _write(Checkpoint(path, step, None, {str(file.relative_to(path)): sha256(file) for file in files}))


def rescore(path: Path, score: float) -> None:
    """Notes the score of a finished checkpoint."""
    _write(dataclasses.replace(read(path), score=score))


def _write(checkpoint: Checkpoint) -> None:
    content = {"step": checkpoint.step, "score": checkpoint.score, "sha256": checkpoint.hashes}
    content["manifest_sha256"] = _hash_of(content)
    write_atomically(checkpoint.path / MANIFEST, json.dumps(content, indent=1))


def read(path: Path) -> Checkpoint:
    """Returns the checkpoint at `path`; raises UserError if it is half-written or its manifest is damaged."""
    if not (path / MANIFEST).exists():
        raise UserError(f"{path} was never finished (no {MANIFEST})")
    try:
        content = json.loads((path / MANIFEST).read_text())
        stated = content.pop("manifest_sha256")
        checkpoint = Checkpoint(path, content["step"], content["score"], content["sha256"])
    except (ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f"{path / MANIFEST} is damaged") from None
    if stated != _hash_of(content):
        raise UserError(f"{path / MANIFEST} is damaged (its sha256 differs)")
    return checkpoint


def verified(path: Path) -> Checkpoint:
    """Returns the checkpoint at `path` after hashing every file of it; raises UserError naming a damaged one."""
    checkpoint = read(path)
    for name, stated in checkpoint.hashes.items():
        file = path / name
        if not file.is_file():
            raise UserError(f"{file} is missing")
        if sha256(file) != stated:
            raise UserError(f"{file} is damaged (its sha256 differs)")
    return checkpoint


def sha256(file: Path) -> str:
    """Returns the file's sha256 in hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(file: Path, text: str) -> None:
    """Writes `file` whole or not at all, whatever happens meanwhile."""
    temporary = file.with_name(file.name + ".tmp")
    with open(temporary, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


def _hash_of(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
