"""`predict`: names what is on images, with probabilities, cut to size as the model was trained to see them."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import rich.console
import rich.table
import rich.text

from vit_jax.data.sources.folder import Files, images_at
from vit_jax.errors import UserError
from vit_jax.tools.arguments import TRAINED, Parser

Rows = list[dict[str, Any]]


def main(arguments: list[str]) -> int:
    """Prints the likeliest classes of each image; returns 0."""
    parser = Parser("predict", "Names what is on images, with probabilities.")
    parser.add_argument("paths", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--workdir", required=True, help=TRAINED)
    parser.add_argument("--top", type=int, default=3, help="how many classes to name for each image (default 3)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="how to print (default table)")
    parser.add_argument("--batch-size", type=int, default=64, help="images at a time (default 64)")
    given = parser.parse(arguments)
    if given.top < 1:
        raise UserError(f"--top is at least 1; got {given.top}")
    files = [file for path in given.paths for file in images_at(Path(path))]

    from vit_jax import parallel
    from vit_jax.data import pipeline
    from vit_jax.data.images import preprocess
    from vit_jax.evaluate.classify import Classifier
    from vit_jax.train import start

    trained = start.trained(given.workdir)
    start.refuse_nameless(trained)
    recipe = trained.recipe
    transform = preprocess.build(image_size=recipe.image_size, **recipe.preprocess)
    mesh = parallel.make_mesh()
    classifier = Classifier(trained.model, mesh, recipe.mean, recipe.std, recipe.loss)
    batches = pipeline.evaluation(Files(files), transform, parallel.whole_batch_size(mesh, given.batch_size))
    probabilities = classifier.probabilities(parallel.place(mesh, trained.parameters), batches)
    FORMATS[given.format](
        [best(file, row, recipe.labels, given.top) for file, row in zip(files, probabilities, strict=True)]
    )
    return 0


def best(file: Path, probabilities: np.ndarray, names: tuple[str, ...], top: int) -> dict[str, Any]:
    """Returns the `top` likeliest classes of a file, the likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return {"file": str(file), "classes": [{"name": names[i], "probability": float(probabilities[i])} for i in order]}


def print_table(rows: Rows) -> None:
    """Prints a table for people."""
    table = rich.table.Table("file", *(f"{place}." for place in range(1, 1 + len(rows[0]["classes"]))))
    for row in rows:
        cells = [row["file"], *(f"{each['name']} {each['probability']:.1%}" for each in row["classes"])]
        table.add_row(*map(rich.text.Text, cells))  # Text, since a name in brackets is no markup
    rich.console.Console(highlight=False).print(table)


def print_json(rows: Rows) -> None:
    """Prints a JSON list of {file, classes: [{name, probability}]}."""
    print(json.dumps(rows, indent=1))


def print_csv(rows: Rows) -> None:
    """Prints a line for each file and class: file, place, name, probability."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "place", "class", "probability"])
    for row in rows:
        for place, each in enumerate(row["classes"], 1):
            writer.writerow([row["file"], place, each["name"], f"{each['probability']:.6f}"])


FORMATS = {"table": print_table, "json": print_json, "csv": print_csv}
