"""Where in a file an image encoder stands: bare, in a training state, or beside a text encoder."""

import logging

from vit_jax.weights.files import File
from vit_jax.weights.rename import Arrays, shortened

log = logging.getLogger(__name__)

# What big_vision's load_params looks into (utils.py at 0127fb6): a training state of optax's, one of Flax's old
# optimizers, the parameters alone. "img" is the image encoder of a pair (models/proj/image_text/two_towers.py).
STATES = ("", "params/", "opt/target/")
IMAGE = "img/"
PREFIXES = [f"{state}{tower}" for state in STATES for tower in ("", IMAGE)]


def prefix(arrays: Arrays) -> str | None:
    """Returns what stands before the names of the encoder's arrays; None where no encoder is found."""
    return next((each for each in PREFIXES if f"{each}embedding/kernel" in arrays), None)


def encoder(file: File) -> tuple[str, Arrays, list[str]]:
    """Returns the prefix of the image encoder, its arrays without it, and the parts of the file that are left aside.

    Those are another encoder, the state of an optimizer, the step: it is said that they are not read.
    """
    found = prefix(file.arrays) or ""
    inside = {name.removeprefix(found): array for name, array in file.arrays.items() if name.startswith(found)}
    aside = sorted({_part(name, found) for name in file.arrays if not name.startswith(found)})
    if aside:
        log.warning("%s: only the image encoder is read, not %s", file.place or "this file", shortened(aside))
    return found, inside, aside


def _part(name: str, prefix: str) -> str:
    """Returns the largest part of the file that `name` belongs to and nothing under `prefix` does.

    >>> _part("params/txt/head/bias", "params/img/"), _part("opt/mu/img/cls", "params/img/")
    ('params/txt', 'opt')
    """
    words, shared = name.split("/"), 0
    for word, other in zip(words, prefix.split("/"), strict=False):
        if word != other:
            break
        shared += 1
    return "/".join(words[: shared + 1])
