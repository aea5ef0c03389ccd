"""Fine-tuned against scratch against the nearest neighbour: the runs of `miniature`, and what is made of them."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich.console
import rich.table

from vit_jax.data import sources
from vit_jax.errors import construct
from vit_jax.models import counts
from vit_jax.tools import configuration, findings
from vit_jax.tools import report as reports
from vit_jax.tools.findings import Budget
from vit_jax.train import loop, start, workdir
from vit_jax.train.config import Config

CONFIG = Path(__file__).parent.parent.parent / "configs" / "miniature.py"
BUDGETS = (100, 400, 0)  # labelled digits to learn from, fixed beforehand; 0 for all
# A run's folder, and what the config file is asked for. Pre-training comes first: fine-tuning starts from it.
RUNS = {"pretrain": "pretrain"} | {
    f"{arm}-{budget or 'all'}": f"{arm},{budget}" for budget in BUDGETS for arm in ("finetune", "scratch")
}


def settings(run: str, folder: Path, seed: int, share: float = 1.0) -> dict[str, Any]:
    """Returns the config of a run in `folder`; of its steps only a `share`, for a quick look."""
    config = configuration.load(f"{CONFIG}:{RUNS[run]}").to_dict()
    schedule = config["optimizer"]["schedule"]
    schedule["warmup_steps"] = round(share * schedule["warmup_steps"])
    config |= {"seed": seed, "steps": max(2, round(share * config["steps"]))}
    if config["weights"]["path"]:
        config["weights"]["path"] = str(folder / "pretrain")
    return config


def train(folder: Path, seed: int, share: float = 1.0, runs: Sequence[str] = tuple(RUNS)) -> int:
    """Trains every run of `runs` in its folder, from wherever it left off; returns 0, or the first other exit code."""
    for number, run in enumerate(runs, 1):
        config = construct(Config, "config", **settings(run, folder, seed, share))
        print(f"{number}/{len(runs)} {title(run)}, {config.image_size[0]} pixels", file=sys.stderr, flush=True)
        outcome = loop.train(config, folder / run)
        if outcome.exit_code:
            return outcome.exit_code
    return 0


def title(run: str) -> str:
    """Returns what a run does, in words.

    >>> title("finetune-all")
    'fine-tuning on all digits'
    """
    stage, _, budget = run.partition("-")
    does = {"pretrain": "pre-training on fractals", "finetune": "fine-tuning on", "scratch": "from scratch on"}[stage]
    return f"{does} {budget} digits" if budget else does


def report(folder: Path, command: str) -> None:
    """Prints the comparison; writes `predictions.csv` and `report.html` into `folder`, all runs of which are done.

    `command` is what the reader is told to repeat.
    """
    configs = {run: workdir.config_of(folder / run) for run in RUNS}
    budgets = [compared(folder, configs, budget) for budget in BUDGETS]
    before, after = (start.trained(str(folder / run)) for run in ("pretrain", "finetune-all"))
    exam = configs["finetune-all"]
    answers = findings.answers(after, sources.build(split=exam["evaluate"]["split"], **exam["source"]))
    shown = findings.some_of_each(answers.true, 1)
    pretraining = configs["pretrain"]["source"]
    drawn = sources.build(split="train", **pretraining)
    fractals = np.stack([drawn[kind * pretraining["per_class"]].image for kind in range(12)])
    (small, _), (large, _) = before.recipe.image_size, after.recipe.image_size
    size = after.recipe.model["size"]

    answers.write(folder / "predictions.csv")
    page = reports.page(
        budgets,
        findings.curve(folder / "pretrain"),
        findings.share(folder / "pretrain"),
        answers,
        shown,
        findings.inside(before, after, answers.images[shown]),
        fractals,
        facts={
            "parameters": f"{counts.parameters(after.model, after.recipe.image_size):,}",
            "depth": str(size["depth"]),
            "width": str(size["width"]),
            "patch": " × ".join(map(str, size["patch"])),
            "fractal_classes": f"{pretraining['classes']:,}",
            "fractal_images": f"{pretraining['classes'] * pretraining['per_class']:,}",
            "small": str(small),
            "large": str(large),
            "command": command,
        },
        environment=workdir.environment(),
        configs=configs,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    console = rich.console.Console(highlight=False, markup=False)
    console.print(table(budgets))
    console.print(f"{reports.meaning(budgets)}\n\n{reports.neighbours(budgets[0])}\n")
    # Not by the console, which would break a long path.
    print(f"Every test digit: {folder / 'predictions.csv'}\nThe report:       {folder / 'report.html'}")


def compared(folder: Path, configs: Mapping[str, Mapping[str, Any]], budget: int) -> Budget:
    """Returns what a budget was good for: both arms and the nearest neighbour, on the same test digits."""
    fine_tuned, scratch = (f"{arm}-{budget or 'all'}" for arm in ("finetune", "scratch"))
    config = configs[fine_tuned]
    known = sources.build(split=config["train"]["split"], **config["source"])
    asked = sources.build(split=config["evaluate"]["split"], **config["source"])
    return Budget(
        labels=len(known),
        fine_tuned=findings.share(folder / fine_tuned),
        scratch=findings.share(folder / scratch),
        neighbour=findings.neighbour_share(known, asked),
        fine_tuned_curve=findings.curve(folder / fine_tuned),
        scratch_curve=findings.curve(folder / scratch),
    )


def table(budgets: Sequence[Budget]) -> rich.table.Table:
    """Returns the comparison as a table of rich's."""
    found = rich.table.Table(title="Test digits named correctly (95% interval)")
    for column in ("labels", "fine-tuned", "from scratch", "nearest neighbour"):
        found.add_column(column, justify="right")
    for budget in budgets:
        found.add_row(f"{budget.labels:,}", str(budget.fine_tuned), str(budget.scratch), str(budget.neighbour))
    return found
