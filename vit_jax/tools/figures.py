"""`figures`: what a model has learned and what it looks at, as the paper's figures: files, and a page with them all."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vit_jax import data, parallel
from vit_jax.data import pipeline
from vit_jax.data.examples import Example, Selection, Source
from vit_jax.data.images import preprocess
from vit_jax.data.sources.folder import Files, images_at
from vit_jax.data.sources.fractals import Fractals
from vit_jax.errors import UserError
from vit_jax.evaluate.survey import Survey, survey
from vit_jax.tools import exhibits
from vit_jax.tools.arguments import TRAINED, Parser
from vit_jax.tools.exhibits import Exhibit
from vit_jax.tools.page import folded, page
from vit_jax.train import start, workdir
from vit_jax.train.start import Trained

SHOWN = 12  # images with the attention over them


def main(arguments: list[str]) -> int:
    """Writes the figures, their numbers and the page; returns 0."""
    parser = Parser("figures", "Draws the paper's figures of a model: each a file, and a page that holds them all.")
    parser.add_argument("paths", nargs="*", metavar="IMAGE", help="image files, or folders; else the run's own images")
    parser.add_argument("--workdir", required=True, help=TRAINED)
    parser.add_argument("--output", help="folder to write to (default: figures in the run's, or runs/figures)")
    parser.add_argument("--limit", type=int, default=128, help="how many images to look at (default 128, the paper's)")
    parser.add_argument("--batch-size", type=int, default=16, help="images at a time (default 16)")
    given = parser.parse(arguments)
    if given.limit < 1:
        raise UserError(f"--limit is at least 1; got {given.limit}")

    trained = start.trained(given.workdir)
    source, origin = images_for(trained, [Path(path) for path in given.paths], given.limit)
    output = Path(given.output) if given.output else usual_output(trained)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {output}: {error.strerror}; choose another --output") from None

    mesh = parallel.make_mesh()
    recipe = trained.recipe
    transform = preprocess.build(image_size=recipe.image_size, **recipe.preprocess)
    batches = pipeline.evaluation(source, transform, parallel.whole_batch_size(mesh, given.batch_size))
    shown = spread(len(source), SHOWN)
    parameters = parallel.place(mesh, trained.parameters)
    found = survey(trained.model, parameters, mesh, recipe.mean, recipe.std, batches, shown.tolist())
    drawn = {
        "filters": exhibits.filters(found),
        "positions": exhibits.positions(found),
        "distances": exhibits.distances(found),
        "norms": exhibits.norms(found),
        "attention": exhibits.attention(found, [name_of(source, index) for index in shown.tolist()]),
    }
    for file in write(output, trained, origin, found, drawn):
        print(file)
    return 0


def images_for(trained: Trained, paths: Sequence[Path], limit: int) -> tuple[Source, str]:
    """Returns at most `limit` images, evenly spread over what there is, and a line that says what they are.

    Those at `paths`; without any, what the model's run was evaluated on; for a model of no run, built-in fractals.

    Raises:
      UserError: there is no image, or the data of the run is gone.
    """
    if paths:
        source, title = Files([file for path in paths for file in images_at(path)]), "given images"
    elif workdir.folder_of(trained.source):
        config, recipe = workdir.run_of(trained.source), trained.recipe
        split = config["evaluate"]["split"]
        source, _ = data.opened(config["source"], recipe.image_size, split, recipe.preprocess)
        title = f"images that the run was evaluated on ({config['source']['kind']}, {split})"
    else:
        source = Fractals(min(limit, 128), -(-limit // 128), trained.recipe.image_size, split="val")
        title = "built-in fractals, as the model belongs to no run and no images were given"
    if len(source) > limit:
        return Selection(source, spread(len(source), limit)), f"{limit:,} of {len(source):,} {title}"
    return source, f"{len(source):,} {title}"


def spread(count: int, most: int) -> np.ndarray:
    """Returns at most `most` indices below `count`, evenly spread: a folder has its images class by class.

    >>> spread(9, 3), spread(2, 3)
    (array([0, 4, 8]), array([0, 1]))
    """
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def name_of(source: Source, index: int) -> str:
    """Returns the class of an image, or its classes, or the name of its file where it has none that is known."""
    example: Example = source[index]
    labels = example.labels
    return ", ".join(source.class_names[label] for label in labels) or Path(example.name).name


def usual_output(trained: Trained) -> Path:
    """Returns the folder that figures go to if no other is named."""
    run = workdir.folder_of(trained.source)
    return run / "figures" if run else Path("runs/figures") / Path(trained.source).stem


def write(output: Path, trained: Trained, origin: str, found: Survey, drawn: Mapping[str, Exhibit]) -> list[Path]:
    """Writes the files of the figures, `figures.json` and `figures.html` into a folder; returns them.

    `origin` says what the images are.
    """
    about = described(trained, origin, found)
    numbers = {"model": about} | measured(found)
    files = {each.file: each.content for each in drawn.values() if each.file}
    files["figures.json"] = json.dumps(numbers, indent=1, ensure_ascii=False).encode()
    parts = {name: each.section for name, each in drawn.items()} | {
        "lead": "What it has learned and what it looks at: the figures of “An Image is Worth 16x16 "
        'Words” (<a href="https://arxiv.org/abs/2010.11929">arXiv 2010.11929</a>) drawn for this model.',
        "facts": "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in about.items()),
        "numbers": folded("figures.json", numbers),
    }
    files["figures.html"] = page("Inside a trained network", "figures.html", parts).encode()
    for name, content in files.items():
        (output / name).write_bytes(content)
    return [output / name for name in files]


def described(trained: Trained, origin: str, found: Survey) -> dict[str, str]:
    """Returns what the model is and what it was shown, in words."""
    size = trained.recipe.model.get("size", "")
    numbers = size if isinstance(size, str) else ", ".join(f"{name} {_sides(value)}" for name, value in size.items())
    count = sum(leaf.size for leaf in jax.tree.leaves(trained.parameters))
    facts = {
        "checkpoint": trained.source.removeprefix(f"{Path.cwd()}/"),
        "size": f"{numbers}; {count:,} parameters",
        "images": f"{origin}; {_sides(found.image_size)} pixels",
    }
    if found.attended:
        rows, columns = found.attended.grid
        facts["patches"] = f"{rows} rows of {columns}, {_sides(found.attended.patch)} pixels apart"
    return facts


def measured(found: Survey) -> dict[str, Any]:
    """Returns the numbers of the charts: by block and head, by layer."""
    numbers: dict[str, Any] = {"images": found.images, "image_size": found.image_size, "token_norms": found.norms}
    if found.attended:
        numbers["grid"] = found.attended.grid
        numbers["attention_distance"] = {
            "pixels_by_block_and_head": found.attended.distances.tolist(),
            "uniform_attention": found.attended.uniform,
        }
    return numbers


def _sides(value: Any) -> str:
    return " × ".join(f"{side:g}" for side in value) if isinstance(value, list | tuple) else str(value)
