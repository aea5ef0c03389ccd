"""`weights`: what is in a file of weights, whether it computes what it should, and the same in another format."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rich.console
import rich.table
import rich.text

from vit_jax import models, pretrained
from vit_jax.errors import UserError
from vit_jax.evaluate import certificate
from vit_jax.tools.arguments import Parser, act
from vit_jax.train import start
from vit_jax.weights import doctor, files, formats, names, references
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded

NOT_VERIFIABLE = 3  # exit code
FILE = "a file or a folder of weights, or a name such as augreg:B/16"


def main(arguments: list[str]) -> int:
    """Does what the first argument says; returns its exit code."""
    return act("weights", ACTIONS, arguments)


def examine(arguments: list[str]) -> int:
    """Says what a file is, what is odd about it, and what will be done. Returns 1 if it cannot be used."""
    parser = Parser("weights doctor", examine.__doc__ or "")
    parser.add_argument("file", help=FILE)
    given = parser.parse(arguments)
    file = files.read(names.local(given.file))
    loaded, findings = doctor.examine(file)
    console = rich.console.Console(highlight=False, soft_wrap=True)
    for question, answer in (doctor.description(file, loaded) if loaded else {}).items():
        console.print(rich.text.Text(f"{question:13} {answer}"))
    for finding in findings:
        console.print(
            rich.text.Text(f"{'BAD' if finding.bad else 'note':13} {finding.what}\n{'':13} -> {finding.will}")
        )
    if not findings:
        print("nothing odd was found")
    return int(any(finding.bad for finding in findings))


def verify(arguments: list[str]) -> int:
    """Compares what a file computes here with what it should, block by block, and its bits with those written.

    Returns 1 if either departs, 3 if nobody here can say what it should compute.
    """
    parser = Parser("weights verify", verify.__doc__ or "")
    parser.add_argument("file", help=FILE)
    given = parser.parse(arguments)
    file = files.read(names.local(given.file))
    loaded = formats.load(file)
    changed = "sha256" in file.notes and file.notes["sha256"] != files.digest(file.arrays)
    if "sha256" in file.notes:
        print(f"bits of the arrays: {'CHANGED since they were' if changed else 'as they were'} written (sha256)")
    images = certificate.probe(loaded.recipe.image_size)
    try:
        wanted, origin = expected(file, loaded, images)
    except UserError as error:
        print(f"not verifiable here: {error}")
        return int(changed) or NOT_VERIFIABLE
    found = certificate.activations(models.build(**loaded.recipe.model), loaded.parameters, images)
    differences = certificate.differences(found, wanted)
    departure = certificate.first_departure(differences)
    table = rich.table.Table("after", f"largest difference from {origin}")
    for name, difference in differences.items():
        table.add_row(name, f"{difference:.1e}" + (" <- departs here" if name == departure else ""))
    rich.console.Console(width=100, highlight=False).print(table)
    largest = max(differences.values())
    print(
        f"{'equal' if departure is None else f'departs at {departure}'}: at most {largest:.1e} of the largest value, "
        f"{certificate.TOLERANCE:.0e} allowed"
    )
    return int(changed or departure is not None)


def expected(file: File, loaded: Loaded, images: np.ndarray) -> tuple[Mapping[str, Any], str]:
    """Returns the activations that were stored in the file, else its library's; and what to call them.

    Raises:
      UserError: there are none, and no library runs files of this format here.
    """
    if "activations" in file.notes:
        if not isinstance(file.notes["activations"], Mapping):
            raise UserError(f"its activations are none; {certificate.DAMAGED}")
        return file.notes["activations"], "what was stored by vit_jax"
    name = loaded.recipe.origin["format"]
    return references.activations(file.place, name, images), references.library(name).version()


def convert(arguments: list[str]) -> int:
    """Writes weights in another format, with their recipe and what they compute, and reads them back."""
    parser = Parser("weights convert", convert.__doc__ or "")
    parser.add_argument("source", metavar="IN", help=f"{FILE}, or a run's folder")
    parser.add_argument("target", metavar="OUT", help="a new .npz (google, bit, big_vision) or folder (the others)")
    parser.add_argument("--to", required=True, choices=formats.FORMATS, help="the format to write")
    given = parser.parse(arguments)
    trained = start.trained(given.source)
    loaded = Loaded(trained.parameters, trained.recipe)
    file = formats.save(loaded, given.to)
    if bool(file.config) == (Path(given.target).suffix == ".npz"):
        wanted = "a folder, for its config.json" if file.config else "one .npz"
        raise UserError(f"{given.to} files are {wanted}; got {given.target}")
    files.refuse_taken(given.target)
    images = certificate.probe(loaded.recipe.image_size)
    computed = certificate.activations(trained.model, loaded.parameters, images)
    notes = {"provenance": provenance(given.source), "activations": certificate.samples(computed)}
    files.write(dataclasses.replace(file, notes={**file.notes, **notes}), given.target)
    again = formats.load(files.read(given.target))
    read = certificate.activations(models.build(**again.recipe.model), again.parameters, images)
    departure = certificate.first_departure(certificate.differences(read, computed))
    if departure:
        raise UserError(f"{given.target} was written, but departs at {departure} when it is read again: do not use it")
    print(f"{given.target}: {given.to}, {len(file.arrays)} arrays; read again it computes the same")
    return 0


def listed(arguments: list[str]) -> int:
    """Prints the names of published weights that a pattern fits. Returns 1 if none does."""
    parser = Parser("weights list", listed.__doc__ or "")
    parser.add_argument("pattern", nargs="?", default="*", help='as in "*dinov2*" (default: all)')
    found = pretrained.list_models(parser.parse(arguments).pattern)
    print("\n".join(found), end="\n" if found else "")
    return int(not found)


def provenance(source: str) -> dict[str, str]:
    """Returns where weights came from, a name or the last word of a path, and what wrote them: notes of a file."""
    path = Path(source).expanduser()
    known = path.resolve().name if path.exists() else source
    return {"source": known, "vit_jax": importlib.metadata.version("vit-jax")}


ACTIONS = {"list": listed, "doctor": examine, "verify": verify, "convert": convert}
