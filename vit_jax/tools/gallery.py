"""The pictures of the report: digits with what was said to them, and the inside of the model."""

import html

import numpy as np

from vit_jax.tools import pictures
from vit_jax.tools.findings import Answers, Inside

TILE = 72  # CSS pixels


def examples(fractals: np.ndarray, answers: Answers) -> str:
    """Returns some fractals, and as many digits."""
    shown = (
        (fractals, "fractals", "What it was pre-trained on, a kind each"),
        (answers.images[: len(fractals)], "handwritten digits", "What it was fine-tuned for"),
    )
    drawn = []
    for images, description, caption in shown:
        image = pictures.picture(pictures.mosaic(images, 6, magnify=3), description, 450)
        drawn.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return f'<div class="columns halves">{"".join(drawn)}</div>'


def confusion(answers: Answers) -> str:
    """Returns the confusion matrix as a table: rows what a digit is, columns what it was called."""
    counts = answers.confusion
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [html.escape(name) for name in answers.class_names]
    rows = []
    for name, numbers, shares in zip(names, counts.tolist(), share.tolist(), strict=True):
        cells = "".join(_shaded(count, part) for count, part in zip(numbers, shares, strict=True))
        rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    head = "".join(f"<th>{name}</th>" for name in names)
    return (
        f'<figure><div class="scroll"><table class="confusion"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        "<figcaption>Rows: what the digit is. Columns: what it was called.</figcaption></figure>"
    )


def _shaded(count: int, share: float) -> str:
    tint = 0.12 + 0.88 * share if count else 0.04
    ink = "#fff" if tint > 0.5 else "inherit"
    return f'<td style="background:rgba(0,114,178,{tint:.2f});color:{ink}">{count or ""}</td>'


def said(answers: Answers, which: np.ndarray, kind: str, most: int = 12) -> str:
    """Returns digits with what was said to them; the most confident first among the wrong, in their order otherwise."""
    if not len(which):
        return "<p>None.</p>"
    if kind == "wrong":
        which = which[np.argsort(-answers.probability[which], kind="stable")]
    tiles = []
    for index in which[:most].tolist():
        predicted, true = answers.class_names[answers.predicted[index]], answers.class_names[answers.true[index]]
        image = pictures.picture(answers.images[index], f"a {true}, named {predicted}", TILE)
        tiles.append(f"<figure>{image}<figcaption>{said_of(answers, index)}</figcaption></figure>")
    return f'<div class="tiles {kind}">{"".join(tiles)}</div>'


def said_of(answers: Answers, index: int) -> str:
    """Returns what an image was called and with which probability, and what it is if that is something else."""
    predicted, true = (html.escape(answers.class_names[each[index]]) for each in (answers.predicted, answers.true))
    return f"<b>{predicted}</b> {answers.probability[index]:.0%}" + (f"<br>is {true}" if predicted != true else "")


def filters(inside: Inside) -> str:
    """Returns the filters before and after fine-tuning."""
    drawn = []
    for components, title in zip(inside.filters, ("pre-trained", "fine-tuned"), strict=True):
        tiles = pictures.components(components, 6, gap=6, magnify=10)
        image = pictures.picture(tiles, f"filters, {title}", 270)
        drawn.append(f"<figure>{image}<figcaption>{title}</figcaption></figure>")
    return (
        f'<div class="columns">{"".join(drawn)}</div><p class="soft">The first {len(inside.filters[0])} principal '
        "components of the kernel that turns a patch of pixels into a token: the patterns that it tells apart. Its "
        "three channels are summed, as the images are grey.</p>"
    )


def positions(inside: Inside) -> str:
    """Returns the similarity of positions, a small map for each place, in three states."""
    titles = ("pre-trained", "interpolated to the finer grid", "after fine-tuning")
    lowest = min(float(each.min()) for each in inside.similarities)
    drawn = []
    for similarity, title in zip(inside.similarities, titles, strict=True):
        rows, columns = similarity.shape[:2]
        maps = pictures.similarities(similarity, lowest, gap=4, magnify=6)
        image = pictures.picture(maps, f"similarity, {title}", 250)
        drawn.append(f"<figure>{image}<figcaption>{title}, {rows} × {columns} places</figcaption></figure>")
    return (
        f'<div class="columns">{"".join(drawn)}</div><p class="soft">A small map for each place of a patch: the '
        f"cosine between its position embedding and that of every other, {lowest:.2f} dark blue, 1 yellow. Nobody told "
        "the network where a patch lies; a bright spot that wanders from map to map shows that it learned it.</p>"
    )


def attention(answers: Answers, shown: np.ndarray, maps: np.ndarray) -> str:
    """Returns digits, each beside itself with the attention of the class token over it."""
    tiles = []
    for index, reached in zip(shown.tolist(), maps, strict=True):
        image, description = answers.images[index], f"a {answers.class_names[answers.true[index]]}"
        attended = pictures.multiplied(image, reached)
        tiles.append(pictures.pair(image, attended, description, said_of(answers, index), TILE))
    return (
        f'<div class="tiles pairs">{"".join(tiles)}</div><p class="soft">Which patches reach the class token, from '
        "which the answer is read: attention averaged over the heads and multiplied through all blocks (rollout). "
        "Dark blue little, yellow much, scaled for each digit.</p>"
    )
