"""What `data check` says: to machines as plain values, to a person as tables."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import rich.console
import rich.table
import rich.text

from vit_jax.data.check.findings import ERROR, NOTE, WARNING, Finding
from vit_jax.data.check.reading import Survey
from vit_jax.data.examples import Example, Source

NAMED = 1_000  # images of a finding that the report names
SHOWN = 3  # of them on the terminal
CLASSES = 20  # that are counted on the terminal; of more, those with most and with fewest images
STYLES = {ERROR: "bold red", WARNING: "yellow", NOTE: "dim"}


@dataclasses.dataclass(frozen=True)
class Checked:
    """Data that was checked: its splits, what was found in each, and the findings over all of them."""

    name: str
    sources: Mapping[str, Source]
    surveys: Mapping[str, Survey]
    findings: list[Finding]

    def place(self, image: int) -> tuple[str, int]:
        """Returns the split and the index in it of an image that is counted over all splits."""
        for split, source in self.sources.items():
            if image < len(source):
                return split, image
            image -= len(source)
        raise IndexError("beyond the last image")

    def example(self, image: int) -> Example | None:
        """Returns an image of all splits; None if it cannot be read."""
        split, index = self.place(image)
        try:
            return self.sources[split][index]
        except Exception:  # as when it was read for the first time
            return None

    def title(self, image: int) -> str:
        """Returns the split and the name of an image; why it cannot be used, if it cannot."""
        split, index = self.place(image)
        reason = self.surveys[split].reasons.get(index)
        if reason is None:
            example = self.example(image)
            reason = example.name if example else f"example {index}"
        return f"{split}: {reason}"


def values(checked: Checked) -> dict[str, Any]:
    """Returns the report as plain values; it names up to NAMED images of each finding."""
    mean, std = next(iter(checked.surveys.values())).mean_and_std
    levels = [finding.level for finding in checked.findings]
    return {
        "data": checked.name,
        "splits": {split: _split(checked.sources[split], survey) for split, survey in checked.surveys.items()},
        "mean": _rounded(mean),
        "std": _rounded(std),
        "errors": levels.count(ERROR),
        "warnings": levels.count(WARNING),
        "notes": levels.count(NOTE),
        "findings": [_finding(checked, finding) for finding in checked.findings],
    }


def _split(source: Source, survey: Survey) -> dict[str, Any]:
    sound = survey.facts[survey.sound]
    sides = {}
    for side in ("height", "width"):
        sides[side] = np.quantile(sound[side], (0, 0.5, 1)).astype(int).tolist() if len(sound) else None
    counts = dict(zip(source.class_names, survey.classes.tolist(), strict=True))
    return {"images": len(source), "readable": len(sound), **sides, "classes": counts}


def _finding(checked: Checked, finding: Finding) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(finding, name) for name in ("kind", "level", "count", "says", "remedy")}
    told["images"] = [[checked.title(image) for image in row] for row in finding.images[:NAMED].tolist()]
    if finding.alike is not None:
        told["alike"] = np.round(finding.alike[:NAMED], 3).tolist()
    if finding.classes:
        told["classes"] = list(finding.classes)
    return told


def _rounded(numbers: np.ndarray) -> list[float] | None:
    return None if np.isnan(numbers).any() else np.round(numbers, 4).tolist()


def overrides(report: Mapping[str, Any]) -> str:
    """Returns the mean and the std as what a training is told, quoted for a shell; "" if there are none."""
    values = {name: ",".join(f"{value:.4f}" for value in report[name] or ()) for name in ("mean", "std")}
    return " ".join(f'--config.value_range.{name}="({said})"' for name, said in values.items() if said)


def verdict(report: Mapping[str, Any]) -> str:
    """Returns how many findings there are of each level, in words."""
    counts = [(report[f"{level}s"], level) for level in (ERROR, WARNING, NOTE)]
    said = [f"{count} {level}{'s' * (count != 1)}" for count, level in counts if count]
    return ", ".join(said) or "nothing was found"


def say(report: Mapping[str, Any], console: rich.console.Console) -> None:
    """Prints the report: the splits, their classes, the findings, the mean and std to paste."""
    text = rich.text.Text  # since a name in brackets is no markup
    for head, rows in (split_rows(report), (["class", *report["splits"]], counted(report))):
        table = rich.table.Table()
        for number, column in enumerate(head):
            table.add_column(text(column), justify="right" if number else "left")
        for row in rows:
            table.add_row(*map(text, row))
        console.print(table)
    for told in report["findings"]:
        says = text(f"{told['level']:9}", STYLES[told["level"]]) + text(f"{told['count']:,} {told['says']}", "bold")
        console.print(says, soft_wrap=True)
        for line in [*examples(told), f"-> {told['remedy']}"]:
            console.print(text(f"{'':9}{line}"), soft_wrap=True)
    console.print(text(verdict(report), "bold"))
    if report["mean"]:
        console.print(text(f"mean and std: {overrides(report)}"), soft_wrap=True)


def split_rows(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Returns the head of a table of the splits, and its rows."""
    rows = []
    for split, told in report["splits"].items():
        sides = [", ".join(f"{side:,}" for side in told[name] or ()) for name in ("height", "width")]
        rows.append([split, f"{told['images']:,}", f"{told['readable']:,}", *sides])
    return ["split", "images", "readable", "height: least, median, most", "width: least, median, most"], rows


def counted(report: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yields a row for each class, its name and how many images each split has of it; of many classes some.

    Those are the largest and the smallest of the first split.
    """
    counts = [told["classes"] for told in report["splits"].values()]
    names = list(counts[0])
    if len(names) > CLASSES:
        names.sort(key=lambda name: -counts[0][name])
        names = [*names[: CLASSES // 2], "", *names[-CLASSES // 2 :]]
    for name in names:
        between = [f"… {len(counts[0]) - CLASSES:,} more", *("…" for _ in counts)]
        yield [name, *(f"{count[name]:,}" for count in counts)] if name in counts[0] else between


def examples(told: Mapping[str, Any], most: int = SHOWN) -> list[str]:
    """Returns the first images, pairs or classes of a finding of the report, a line each."""
    if "classes" in told:
        return [", ".join(told["classes"][:CLASSES])]
    if told["kind"].startswith("near"):
        rows = zip(told["images"][:most], told["alike"], strict=False)
        return [f"{alike:.3f} alike: {one} and {other}" for (one, other), alike in rows]
    return [" = ".join(row) for row in told["images"][:most]]
