"""The report of `miniature`: one HTML page that stands alone, made from what the runs found and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vit_jax.tools import charts, gallery
from vit_jax.tools.charts import BLUE, GREEN, ORANGE, Intervals, Line
from vit_jax.tools.findings import Answers, Budget, Curve, Inside, Share
from vit_jax.tools.page import folded
from vit_jax.tools.page import page as whole_page

# What a reader compares, and how each is drawn: (attribute of Budget, words, colour, shape of its points).
ARMS = (
    ("fine_tuned", "fine-tuned", BLUE, "circle"),
    ("scratch", "from scratch", ORANGE, "square"),
    ("neighbour", "nearest neighbour", GREEN, "diamond"),
)


def page(
    budgets: Sequence[Budget],
    pretraining: Curve,
    pretrained: Share,
    answers: Answers,
    shown: np.ndarray,
    inside: Inside,
    fractals: np.ndarray,
    facts: Mapping[str, str],
    environment: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, Any]],
) -> str:
    """Returns the report as HTML.

    Args:
      budgets: the comparison, smallest number of labels first.
      pretraining: the loss on fractals.
      pretrained: how well fractals are told apart that were not learned from.
      answers: of the model that was fine-tuned on all labels.
      shown: indices of the digits whose attention `inside` holds.
      inside: of the pre-trained model and of that one.
      fractals: some, uint8 (count, height, width, 3).
      facts: what the text says about the set-up, by the names that report.html has for it.
      environment: of the run.
      configs: of each run, by its name.
    """
    least = budgets[0]
    wrong = answers.predicted != answers.true
    parts = {
        "headline": headline(least),
        "examples": gallery.examples(fractals, answers),
        "seen": f"{least.fine_tuned.seen:,}",
        "results": results(budgets),
        "accuracy": accuracy(budgets),
        "meaning": meaning(budgets),
        "neighbours": neighbours(least),
        "curves": curves(budgets, pretraining, pretrained),
        "told": told(answers, budgets[-1]),
        "confusion": gallery.confusion(answers),
        "wrong": gallery.said(answers, np.flatnonzero(wrong), "wrong"),
        "right": gallery.said(answers, np.flatnonzero(~wrong), "right"),
        "filters": gallery.filters(inside),
        "positions": gallery.positions(inside),
        "attention": gallery.attention(answers, shown, inside.attention),
        "environment": folded("Environment", environment),
        "configs": "".join(folded(f"Config of {name}", config) for name, config in configs.items()),
    }
    return whole_page("The Vision Transformer paper in miniature", "report.html", {**facts, **parts})


def headline(least: Budget) -> str:
    """Returns the finding at the smallest budget in a sentence."""
    return (
        f"With {least.labels} labelled digits, a Vision Transformer that was first pre-trained on fractals names "
        f"<b>{least.fine_tuned.right:.1%}</b> of {least.fine_tuned.seen:,} unseen digits correctly. "
        f"The same network trained from scratch names <b>{least.scratch.right:.1%}</b>."
    )


def meaning(budgets: Sequence[Budget]) -> str:
    """Returns what the comparison says, budget by budget."""
    gains = [
        f"{100 * (budget.fine_tuned.right - budget.scratch.right):+.1f} points with {budget.labels:,} labels"
        for budget in budgets
    ]
    return (
        f"The comparison that speaks for the paper is fine-tuned against scratch: {', '.join(gains)}. Both took "
        f"{budgets[0].scratch_curve.steps[-1]:,} steps, which is little: given longer, scratch would come closer. And "
        "both are one run with one seed, so differences smaller than the intervals mean nothing."
    )


def neighbours(least: Budget) -> str:
    """Returns what the nearest neighbour's accuracy means."""
    return (
        "The nearest neighbour gives a digit the label of the training digit whose pixels are closest; nothing is "
        f"learned. It reaches {least.neighbour.right:.1%} with {least.labels} labels because these digits are centred, "
        "8 × 8 and tiny, so that pixel distance nearly suffices. A Transformer must learn even that being neighbours "
        "means something."
    )


def results(budgets: Sequence[Budget]) -> str:
    """Returns the table: a row a budget, a column an arm, 95% intervals below."""
    head = "".join(
        f'<th><span class="mark" style="background:{colour}"></span>{name}</th>' for _, name, colour, _ in ARMS
    )
    rows = []
    for budget in budgets:
        cells = "".join(f"<td>{_cell(getattr(budget, arm))}</td>" for arm, *_ in ARMS)
        rows.append(f"<tr><td>{budget.labels:,} labels</td>{cells}</tr>")
    return (
        f'<figure><div class="scroll"><table class="results"><thead><tr><th>learned from</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div><figcaption>Share of {budgets[0].fine_tuned.seen:,} test digits "
        "named correctly; below it the 95% interval (Wilson) in which it would lie for other digits of the kind."
        "</figcaption></figure>"
    )


def _cell(share: Share) -> str:
    low, high = share.interval
    return f"{share.right:.1%}<small>{low:.1%} to {high:.1%}</small>"


def accuracy(budgets: Sequence[Budget]) -> str:
    """Returns the table as a chart."""
    series = []
    for arm, name, colour, shape in ARMS:
        shares: list[Share] = [getattr(budget, arm) for budget in budgets]
        low, high = zip(*(share.interval for share in shares), strict=True)
        series.append(Intervals(name, [share.right for share in shares], low, high, colour, shape))
    groups = [f"{budget.labels:,}" for budget in budgets]
    drawn = charts.intervals(series, groups, "labelled digits", "share named correctly")
    return f'<figure style="max-width:34rem">{charts.legend(series)}{drawn}</figure>'


def curves(budgets: Sequence[Budget], pretraining: Curve, pretrained: Share) -> str:
    """Returns the training losses: of pre-training, then of both arms for each budget."""
    first = Line("pre-training", pretraining.steps, pretraining.losses, BLUE)
    both = [
        [
            Line("fine-tuned", budget.fine_tuned_curve.steps, budget.fine_tuned_curve.losses, BLUE),
            Line("from scratch", budget.scratch_curve.steps, budget.scratch_curve.losses, ORANGE, "7 4"),
        ]
        for budget in budgets
    ]
    drawn = [f"<figure><h3>Fractals</h3>{charts.lines([first], 'step', 'training loss')}</figure>"]
    drawn += [
        f"<figure><h3>{budget.labels:,} labelled digits</h3>{charts.lines(pair, 'step', 'training loss')}</figure>"
        for budget, pair in zip(budgets, both, strict=True)
    ]
    caption = (
        "Cross-entropy of single training batches. After pre-training, "
        f"{pretrained.right:.1%} of {pretrained.seen:,} new fractals were named correctly."
    )
    return (
        f'{charts.legend(both[0])}<div class="columns halves">{"".join(drawn)}</div>'
        f'<p class="soft">{caption} A training loss says how fast a network learns its own digits by heart; what it is '
        "worth shows only on the test digits above.</p>"
    )


def told(answers: Answers, most: Budget) -> str:
    """Returns a sentence on whose answers are shown."""
    wrong = int((answers.predicted != answers.true).sum())
    return (
        f"Shown is the network that was fine-tuned on all {most.labels:,} labels: {wrong} of {len(answers.true):,} "
        "test digits are named wrongly. Below each digit stands what it was called, with its probability. All answers "
        "are in <code>predictions.csv</code> beside this page."
    )
