"""`data check`: reads all images once and says what would stop or falsify a training, and what is good to know."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import rich.console
import rich.markup
import rich.progress

from vit_jax.data import sources
from vit_jax.data.check import duplicates, reading
from vit_jax.data.check.findings import findings
from vit_jax.data.check.reading import Survey
from vit_jax.data.examples import Source, with_common_classes
from vit_jax.data.sources import folder
from vit_jax.errors import UserError, construct
from vit_jax.tools import check_page, check_report, configuration
from vit_jax.tools.arguments import Parser
from vit_jax.tools.check_report import Checked


def check(arguments: list[str]) -> int:
    """Reads all images once: damaged, odd, twice, in two splits, classes, mean and std. Returns 1 at an error."""
    parser = Parser("data check", check.__doc__ or "")
    parser.add_argument("--data", metavar="FOLDER", help="a folder with a subfolder of images for each class")
    configuration.add_to(parser)
    parser.add_argument("--splits", help="which, as in train,test, what is learned from first (default: the data's)")
    parser.add_argument("--out", metavar="FOLDER", help="for the report (default runs/data-check/NAME)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that read (default: one a core)")
    parser.add_argument(
        "--alike",
        type=float,
        default=duplicates.ALIKE,
        help=f"two images are near copies from this likeness on (default {duplicates.ALIKE}; above 1: exact ones only)",
    )
    parser.add_argument("--json", action="store_true", help="prints the report as JSON")
    given, left = parser.parse_known_args(arguments)
    if bool(given.data) == bool(given.config):
        raise UserError("give either --data=FOLDER or --config=FILE; see vit-jax data check --help")
    if given.processes < 1:
        raise UserError(f"--processes is at least 1; got {given.processes}")
    if not 0.5 <= given.alike:
        raise UserError(f"--alike is a correlation of 0.5 or more; got {given.alike}")
    if given.data:
        for word in left:
            parser.unexpected(word)
        asked = of_folder(given.data)
    else:
        asked = of_config(given.config, configuration.changed(given.config, left, parser).to_dict())
    splits = tuple(given.splits.split(",")) if given.splits else asked.splits
    opened = open_splits(asked.section, splits)
    output = Path(given.out or f"runs/data-check/{asked.name}")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {output}: {error.strerror}; choose another --out") from None

    surveys = read(opened, given.processes)
    found = findings(surveys, opened[splits[0]].class_names, asked.image_size, given.alike)
    checked = Checked(asked.name, opened, surveys, found)
    report = check_report.values(checked)
    files = check_page.write(output, checked, report)
    if given.json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        check_report.say(report, rich.console.Console(highlight=False))
        print("\n".join(map(str, files)))
    return int(report["errors"] > 0)


class Asked(NamedTuple):
    """The data to check: what it is called, the section of a config that names it, its splits, the size wanted."""

    name: str
    section: Mapping[str, Any]
    splits: tuple[str, ...]
    image_size: tuple[int, int] | None


def of_folder(path: str) -> Asked:
    """Returns what a folder holds."""
    return Asked(Path(path).expanduser().resolve().name, {"kind": "folder", "path": path}, folder.splits(path), None)


def of_config(argument: str, config: Mapping[str, Any]) -> Asked:
    """Returns what a config, which `argument` names, learns from and is examined on."""
    name = Path(argument.partition(":")[0]).stem
    splits = dict.fromkeys((config["train"]["split"], config["evaluate"]["split"]))
    return Asked(name, config["source"], tuple(splits), config["image_size"])


def open_splits(section: Mapping[str, Any], splits: tuple[str, ...]) -> dict[str, Source]:
    """Returns the splits of a source by name, all with the classes of all; raises UserError as sources do."""
    if section.get("kind") == "folder":
        section = {**section, "empty_classes": True}  # a finding, not the end
    opened = [construct(sources.build, "config.source", split=split, **section) for split in splits]
    return dict(zip(splits, with_common_classes(opened), strict=True))


def read(opened: Mapping[str, Source], processes: int) -> dict[str, Survey]:
    """Returns what was found in each split, under a bar where a person watches."""
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    console = rich.console.Console(stderr=True)
    surveys: dict[str, Survey] = {}
    with rich.progress.Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        for split, source in opened.items():
            task, pieces = bar.add_task(rich.markup.escape(split), total=len(source)), []
            for piece in reading.read(source, processes):
                pieces.append(piece)
                bar.advance(task, len(piece.facts))
            surveys[split] = reading.joined(pieces)
    return surveys
