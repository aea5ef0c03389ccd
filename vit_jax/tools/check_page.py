"""The files of `data check`: contact sheets of the classes and of the findings, the report as a page and as JSON."""

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from vit_jax.data.check.findings import Finding
from vit_jax.data.images.decode import decode
from vit_jax.errors import UserError
from vit_jax.tools import check_report, contact_sheet, pictures
from vit_jax.tools.check_report import Checked
from vit_jax.tools.contact_sheet import Row, Tile
from vit_jax.tools.page import page

CLASSES = 50  # that are shown
EXAMPLES = 8  # of each class, and of each finding
LONG = 24  # letters of a class below a picture


def write(output: Path, checked: Checked, report: Mapping[str, Any]) -> list[Path]:
    """Writes report.json, report.html, classes.png and, if there is any finding, findings.png; returns them."""
    classes, found = list(class_rows(checked)), list(finding_rows(checked))
    output.mkdir(parents=True, exist_ok=True)
    files = {"report.json": json.dumps(report, indent=1, ensure_ascii=False).encode()}
    files["report.html"] = as_page(report, classes, found).encode()
    for name, rows in (("classes.png", classes), ("findings.png", found)):
        (output / name).unlink(missing_ok=True)
        if rows:
            files[name] = pictures.png(np.asarray(contact_sheet.sheet(rows)))
    for name, content in files.items():
        (output / name).write_bytes(content)
    return [output / name for name in files]


def class_rows(checked: Checked) -> Iterator[Row]:
    """Yields examples of each class, evenly spread over the first split; of many classes the first."""
    split, survey = next(iter(checked.surveys.items()))
    names = checked.sources[split].class_names
    for label, name in list(enumerate(names))[:CLASSES]:
        which = np.flatnonzero((survey.facts["label"] == label) & survey.sound)
        spread = which[np.linspace(0, len(which) - 1, min(len(which), EXAMPLES)).round().astype(int)]
        counts = " · ".join(f"{part}: {each.classes[label]:,}" for part, each in checked.surveys.items())
        yield Row(name, [Tile((shown(checked, image),)) for image in spread.tolist()], counts)


def finding_rows(checked: Checked) -> Iterator[Row]:
    """Yields some images or pairs of each finding that has any."""
    for finding in checked.findings:
        if len(finding.images):
            title = f"{finding.level}: {finding.count:,} {finding.says}"
            yield Row(title, list(tiles(checked, finding)), finding.remedy)


def tiles(checked: Checked, finding: Finding) -> Iterator[Tile]:
    """Yields some images or pairs of a finding with their names, from the first to the last, the least alike too."""
    count = len(finding.images)
    for place in np.linspace(0, count - 1, min(count, EXAMPLES)).round().astype(int).tolist():
        row = finding.images[place].tolist()
        names = [short_name(checked, image) for image in row]
        if len(row) == 1:
            split, _, name = names[0].partition(": ")
            names = [split, name]
        elif finding.alike is not None and finding.kind.startswith("near"):
            names[1] += f" ({finding.alike[place]:.3f})"
        yield Tile(tuple(shown(checked, image) for image in row), "\n".join(names))


def short_name(checked: Checked, image: int) -> str:
    """Returns the split of an image, its class and its file."""
    split, index = checked.place(image)
    example = checked.example(image)
    if example is None:
        return f"{split}: example {index}"
    labels = example.labels
    classes = ", ".join(checked.sources[split].class_names[label] for label in labels)
    return f"{split}: {classes if len(classes) <= LONG else classes[:LONG] + '…'}/{Path(example.name).name}"


def shown(checked: Checked, image: int) -> PIL.Image.Image | None:
    """Returns an image to look at, small; None if there is nothing to see."""
    example = checked.example(image)
    try:
        picture = decode(example.image, example.name) if example else None
    except UserError:
        return None
    if picture and max(picture.size) > contact_sheet.TILE:
        return contact_sheet.fitted(picture)
    return picture


def as_page(report: Mapping[str, Any], classes: Sequence[Row], found: Sequence[Row]) -> str:
    """Returns the report as a page that stands alone."""
    first = next(iter(report["splits"]))
    images = sum(told["images"] for told in report["splits"].values())
    rows = iter(found)
    sections = [class_section(told) if "classes" in told else section(next(rows)) for told in report["findings"]]
    others = len(report["splits"][first]["classes"]) - len(classes)
    parts = {
        "lead": html.escape(f"{images:,} images of {report['data']}: {check_report.verdict(report)}."),
        "findings": "".join(sections) or "<p>Nothing.</p>",
        "splits": table(*check_report.split_rows(report)),
        "first": html.escape(first),
        "overrides": html.escape(check_report.overrides(report) or "no image can be read"),
        "classes": table(["class", *report["splits"]], check_report.counted(report)),
        "which": "Images of each class" + (f"; {others:,} more classes are not shown below." if others else "."),
        "examples": "".join(map(section, classes)),
    }
    return page(f"Data: {html.escape(report['data'])}", "check.html", parts)


def section(row: Row) -> str:
    """Returns a row of a contact sheet as HTML."""
    kind = "tiles pairs" if any(len(tile.pictures) > 1 for tile in row.tiles) else "tiles"
    drawn = []
    for tile in row.tiles:
        images = [np.asarray(contact_sheet.fitted(picture)) for picture in tile.pictures]
        shown = "".join(pictures.picture(image, tile.caption or row.title, contact_sheet.TILE) for image in images)
        shown = f'<div class="pair">{shown}</div>' if len(images) > 1 else shown
        caption = html.escape(tile.caption).replace("\n", "<br>")
        drawn.append(f"<figure>{shown}<figcaption>{caption}</figcaption></figure>")
    note = f'<p class="soft">{html.escape(row.note)}</p>'
    return f'<h3>{html.escape(row.title)}</h3>{note}<div class="{kind}">{"".join(drawn)}</div>'


def class_section(told: Mapping[str, Any]) -> str:
    """Returns a finding about classes, which have no pictures, as HTML."""
    title = html.escape(f"{told['level']}: {told['count']:,} {told['says']}")
    names = html.escape(", ".join(told["classes"][: check_report.CLASSES]))
    return f'<h3>{title}</h3><p class="soft">{html.escape(told["remedy"])}</p><p>{names}</p>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]] | Iterator[list[str]]) -> str:
    """Returns a table as HTML, its cells plain text."""
    heads = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
