"""Where images come from: a table of kinds, each a random-access source with a length and class names."""

from collections.abc import Callable
from typing import Any

from vit_jax.data.examples import Source
from vit_jax.data.sources import (
    array_record,
    arrays,
    digits,
    folder,
    fractals,
    huggingface,
    mixture,
    table,
    tfds,
    vtab,
    webdataset,
)
from vit_jax.data.sources.splits import sliced
from vit_jax.errors import UserError, construct, pick


def build(kind: str, split: str, **options: Any) -> Source:
    """Returns the part `split` ("train", "train[:98%]", ...) of the data that `kind` and `options` describe.

    Raises UserError for an unknown kind, an option that the kind does not read, or data that is not there.

    >>> len(build("digits", "train", labels=100))
    100
    """
    if options.get("path") == "":  # as configs for one's own images have it; to a kind it would be the current folder
        raise UserError(f'data "{kind}" has no path; say where it is, as in --config.source.path=FOLDER')
    return construct(pick(SOURCES, kind, "kind of data"), f'data "{kind}"', split, **options)


SOURCES: dict[str, Callable[..., Source]] = {
    "array_record": sliced(array_record.array_record),
    "arrays": sliced(arrays.arrays),
    "digits": sliced(digits.digits),
    "folder": sliced(folder.folder),
    "fractals": sliced(fractals.fractals),
    "huggingface": sliced(huggingface.huggingface),
    "mixture": mixture.mixture,  # its parts cut their splits themselves
    "table": sliced(table.table),
    "tfds": tfds.tfds,  # cuts its splits itself, in the same words
    "vtab": vtab.vtab,  # has splits of its own
    "webdataset": sliced(webdataset.webdataset),
}
