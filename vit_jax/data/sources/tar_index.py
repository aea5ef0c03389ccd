"""What is where in a tar of examples: gone through once, and kept in a small file beside it."""

import hashlib
import json
import os
import re
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from vit_jax.data import storage
from vit_jax.data.sources import tar
from vit_jax.data.sources.classes import words_of
from vit_jax.data.sources.packed import Strings
from vit_jax.errors import UserError

FORMAT = 1  # of the file; another number is made anew
IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "ppm", "tif", "tiff")
LABELS = ("cls", "json", "txt")
# WebDataset's own rule: the key is all up to the first dot behind the last slash.
KEY_AND_ENDING = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)", re.DOTALL)


@dataclass(frozen=True)
class Wanted:
    """The endings of an example's image and label, "" for the usual ones, and the key of a label in JSON."""

    image: str
    label: str
    key: str


@dataclass(frozen=True)
class Index:
    """The examples of a tar, in their order.

    Attributes:
      keys: their names.
      offsets, sizes: where their images lie, bytes (examples,).
      words: the labels that there are, each once.
      codes: which of `words`, those of the first example, then those of the second, ...
      counts: how many labels each example has.
    """

    keys: Strings
    offsets: np.ndarray
    sizes: np.ndarray
    words: Strings
    codes: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def first_with(self, word: int) -> str:
        """Returns the name of the first example that has this one of `words`."""
        return self.keys[int(np.searchsorted(np.cumsum(self.counts), np.argmax(self.codes == word), side="right"))]


def index_of(path: str, wanted: Wanted) -> Index:
    """Returns the index of a tar: the one that is kept, or else a new one, which then is kept.

    Raises:
      UserError: a tar that cannot be read, or an example in it that lacks its image or its label.
    """
    stamp = _stamp(path, wanted)
    places = [Path(f"{path}.index.npz")] if not storage.is_remote(path) else []
    cache = os.environ.get("VIT_JAX_CACHE") or "~/.cache/vit_jax"
    known_as = path if storage.is_remote(path) else os.path.abspath(path)
    name = hashlib.sha256(os.fsencode(known_as)).hexdigest()[:32]
    places.append(Path(cache).expanduser() / "indexes" / f"{name}.npz")
    for place in places:
        kept = _load(place, stamp)
        if kept is not None:
            return kept
    with storage.open_for_reading(path) as file:
        made = _made(file, path, wanted)
    for place in places:
        try:
            _save(place, stamp, made)
            break
        except OSError:
            continue  # a run that can write to neither indexes anew each time
    return made


def _stamp(path: str, wanted: Wanted) -> str:
    """Returns what must be the same for an index to count."""
    changed = 0 if storage.is_remote(path) else os.stat(path).st_mtime_ns if os.path.exists(path) else 0
    return json.dumps([FORMAT, storage.size(path), changed, wanted.image, wanted.label, wanted.key])


def _load(place: Path, stamp: str) -> Index | None:
    try:
        with np.load(place, allow_pickle=False) as file:
            if file["stamp"].item() != stamp:
                return None
            keys, words = (Strings(file[f"{name}_text"], file[f"{name}_ends"]) for name in ("keys", "words"))
            return Index(keys, file["offsets"], file["sizes"], words, file["codes"], file["counts"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _save(place: Path, stamp: str, index: Index) -> None:
    """Writes the file; it is there whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f".{place.name}.{uuid.uuid4().hex}.npz")
    try:
        np.savez(
            unfinished,
            stamp=stamp,
            keys_text=np.frombuffer(index.keys.text, np.uint8),
            keys_ends=np.asarray(index.keys.ends),
            words_text=np.frombuffer(index.words.text, np.uint8),
            words_ends=np.asarray(index.words.ends),
            offsets=index.offsets,
            sizes=index.sizes,
            codes=index.codes,
            counts=index.counts,
        )
        unfinished.replace(place)
    finally:
        unfinished.unlink(missing_ok=True)


def _made(file: BufferedIOBase, path: str, wanted: Wanted) -> Index:
    keys, words = Strings(), Strings()
    known: dict[str, int] = {}
    offsets, sizes, codes, counts = [], [], [], []
    label = wanted.label
    for key, files in _samples(file, path):
        title = f'"{key}" in "{path}"'
        images = [files[ending] for ending in ([wanted.image] if wanted.image else IMAGES) if ending in files]
        label = label or next((ending for ending in LABELS if ending in files), "")
        if len(images) != 1:
            what = "several images" if images else "no image"
            raise UserError(f"{title} has {what} ({', '.join(sorted(files))}); take it out, or say which by image=")
        if label not in files:
            what = f"no {label}" if label else "no label"
            raise UserError(f"{title} has {what} ({', '.join(sorted(files))}); take it out, or say which by label=")
        keys.append(key.encode(errors="surrogateescape"))
        offsets.append(images[0].offset)
        sizes.append(images[0].size)
        file.seek(files[label].offset)
        each = dict.fromkeys(_labels(file.read(files[label].size), label, wanted.key, title))
        counts.append(len(each))
        for word in each:
            if word not in known:
                known[word] = len(known)
                words.append(word)
            codes.append(known[word])
    return Index(
        keys,
        np.array(offsets, np.int64),
        np.array(sizes, np.int64),
        words,
        np.array(codes, np.int32),
        np.array(counts, np.int32),
    )


def _samples(file: BufferedIOBase, path: str) -> Iterator[tuple[str, dict[str, tar.Member]]]:
    """Yields the files that stand together under one key, by their endings; as WebDataset groups them."""
    current, files = "", dict[str, tar.Member]()
    for member in tar.members(file, storage.size(path), path):
        found = KEY_AND_ENDING.fullmatch(member.name)
        if found is None or re.fullmatch("__.*__", os.path.basename(member.name)):
            continue
        key, ending = found[1], found[2].lower()
        if key != current and files:
            yield current, files
            files = {}
        current = key
        if ending in files:
            raise UserError(f'"{path}" has "{member.name}" twice; take one out')
        files[ending] = member
    if files:
        yield current, files


def _labels(content: bytes, ending: str, key: str, title: str) -> list[str]:
    """Returns the labels of an example, which `title` names."""
    try:
        if ending.rpartition(".")[2] != "json":
            return [line.strip() for line in content.decode().splitlines() if line.strip()]
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{title}: its {ending} cannot be read ({error}); write it as UTF-8") from None
    if not isinstance(said, dict) or key not in said:
        has = f", only {', '.join(said)}" if isinstance(said, dict) else ""
        raise UserError(f'{title}: its {ending} has no "{key}"{has}; say which by key=')
    return words_of(said[key], f'{title}: "{key}"')
