"""The figures of a model, each with its file, what it shows and how to read it."""

import dataclasses
import html
from collections.abc import Sequence

import numpy as np
import PIL.Image

from vit_jax.evaluate.survey import Attended, Survey
from vit_jax.tools import charts, pictures
from vit_jax.tools.charts import BLUE, GREEN, ORANGE, Dots, Line

MOST_MAPS = 10  # maps of similarity a side; of a larger grid only every second place, or third …, is shown
FILE_PIXELS = 128  # at least so high is an image in a file, and at most twice as high
NOT_ADDED = {
    "none": "This model has no positions: it sees a bag of patches, in no order.",
    "rotary": "This model adds no positions to its patches: it turns queries and keys by where their patch lies.",
}
NOTHING_ATTENDS = "This network has no attention and no positions: it is a convolutional network throughout."


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """A figure.

    Attributes:
      title: what it shows, in a few words.
      paper: where the paper shows the same.
      caption: how to read it, HTML; or why there is nothing to show.
      file: name of its file; "" where there is nothing to show.
      content: of that file.
      shown: the figure as it stands on the page, HTML.
    """

    title: str
    paper: str
    caption: str
    file: str = ""
    content: bytes = b""
    shown: str = ""

    @property
    def section(self) -> str:
        """A section of the page."""
        named = f" <code>{self.file}</code>" if self.file else ""
        return (
            f'<section><h2>{self.title} <small class="soft">{self.paper}</small></h2>'
            f"<figure>{self.shown}<figcaption>{self.caption}{named}</figcaption></figure></section>"
        )


def filters(survey: Survey) -> Exhibit:
    """Returns the principal components of the first kernel."""
    count, height, width, channels = survey.filters.shape
    magnify = max(1, round(64 / height))
    page = pictures.components(survey.filters, 7, gap=max(4, magnify // 2), magnify=magnify)
    reads = "a patch" if survey.kernel.startswith("patch") else "the image"
    grey = " The images are grey, so its three channels are summed." if channels == 1 else ""
    return Exhibit(
        "Filters of the first layer",
        "figure 7, left",
        f"The first {count} principal components of the kernel that reads {reads}, {height} × {width} pixels "
        f"(<code>{survey.kernel}</code>), the one with the largest variance first, each scaled by itself: mid-grey is "
        f"no weight.{grey} A well-trained model has smooth waves, edges and colours, as if made to describe the fine "
        "structure of a patch; noise is what chance began with.",
        "filters.png",
        pictures.png(page),
        pictures.picture(page, f"{count} filters", page.shape[1]),
    )


def positions(survey: Survey) -> Exhibit:
    """Returns the similarity of the position embeddings."""
    title, paper = "Similarity of the positions", "figure 7, centre"
    if survey.attended is None:
        return Exhibit(title, paper, NOTHING_ATTENDS)
    similarity = survey.attended.similarity
    if similarity is None:
        return Exhibit(title, paper, NOT_ADDED[survey.attended.positions])
    rows, columns = survey.attended.grid
    step = -(-max(rows, columns) // MOST_MAPS)
    every = [np.arange((count - 1) % step // 2, count, step) for count in (rows, columns)]
    low = float(similarity.min())
    drawn = _maps(similarity[np.ix_(*every)], low, survey.attended, [(each + 1).tolist() for each in every])
    learned = survey.attended.positions == "learned"
    made = "learned" if learned else "fixed waves (sincos2d), not learned"
    told = (
        "Nobody told the network where a patch lies: a bright spot that wanders from map to map, or bright rows and "
        "columns, show that it learned it."
        if learned
        else "This is what learned positions are to be compared with."
    )
    skipped = "" if step == 1 else f" Of {rows} × {columns} places one in {step} each way has its map here."
    return Exhibit(
        title,
        paper,
        f"A small map for each place of a patch: the cosine between its position embedding and that of every other "
        f"place. The embeddings are {made}. {told}{skipped}",
        "positions.svg",
        drawn.encode(),
        drawn,
    )


def _maps(similarity: np.ndarray, low: float, attended: Attended, numbers: Sequence[Sequence[int]]) -> str:
    """Returns the maps as SVG, with the numbers of their rows and columns and what the colours mean."""
    magnify = max(1, 24 // max(similarity.shape[2:]))
    gap = max(2, magnify)
    array = pictures.similarities(similarity, low, gap, magnify)
    sides = array.shape[1] * attended.patch[1], array.shape[0] * attended.patch[0]
    width, height = (300 * side / max(sides) for side in sides)
    left, top = 46.0, 8.0
    drawn = [pictures.in_svg(array, left, top, width, height)]
    for number, tile in enumerate(numbers[0]):
        y = top + height * (number + 0.5) / len(numbers[0])
        drawn.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tile}</text>')
    for number, tile in enumerate(numbers[1]):
        x = left + width * (number + 0.5) / len(numbers[1])
        drawn.append(f'<text x="{x:.1f}" y="{top + height + 16:.1f}" text-anchor="middle">{tile}</text>')
    middle = left + width / 2, top + height / 2
    drawn.append(f'<text x="{middle[0]}" y="{top + height + 34:.1f}" text-anchor="middle">column of the patch</text>')
    turn = f"translate(14 {middle[1]:.1f}) rotate(-90)"
    drawn.append(f'<text transform="{turn}" text-anchor="middle">row of the patch</text>')
    bar = pictures.coloured(np.linspace(1, 0, 128)[:, None], 0.0, 1.0)
    drawn.append(pictures.in_svg(bar, left + width + 16, top, 12.0, height))
    for value, y in ((1.0, top), ((1 + low) / 2, middle[1]), (low, top + height)):
        at = min(max(y + 4, top + 9), top + height)
        drawn.append(f'<text x="{left + width + 34}" y="{at:.1f}">{value:.2f}</text>')
    return charts.svg("cosine similarity of position embeddings", "".join(drawn), height=top + height + 42)


def distances(survey: Survey) -> Exhibit:
    """Returns the mean attention distance of every head by depth."""
    title, paper = "Mean attention distance", "figures 7, right, and 11"
    if survey.attended is None:
        return Exhibit(title, paper, NOTHING_ATTENDS)
    found, uniform = survey.attended.distances, survey.attended.uniform
    blocks, heads = found.shape
    depth = list(range(1, blocks + 1))
    series = [
        Line("uniform attention", [1, blocks], [uniform, uniform], charts.INK, "2 4"),
        Line("mean of heads", depth, found.mean(axis=1).tolist(), ORANGE),
        Dots("a head", [block for block in depth for _ in range(heads)], found.ravel().tolist(), BLUE),
    ]
    drawn = charts.by_depth(series, 1, "block", "distance in pixels")
    (low_block, low_head), (high_block, high_head) = (
        np.unravel_index(place, found.shape) for place in (found.argmin(), found.argmax())
    )
    height, width = survey.image_size
    patch = " × ".join(f"{side:g}" for side in survey.attended.patch)
    return Exhibit(
        title,
        paper,
        f"How far a patch looks: the distance in the image ({height} × {width} pixels) from a patch to those that "
        f"it attends to, weighted by the attention, other tokens left out, mean over patches and {survey.images} "
        f"images. A step from patch to patch is {patch} pixels. Low dots are heads that look close by, as a "
        "convolution does; a head on the dotted line looks everywhere alike. "
        f"Nearest looks head {low_head + 1} of block {low_block + 1} ({found.min():.1f} pixels), farthest head "
        f"{high_head + 1} of block {high_block + 1} ({found.max():.1f}).",
        "attention_distance.svg",
        drawn.encode(),
        drawn,
    )


def norms(survey: Survey) -> Exhibit:
    """Returns the norms of the tokens after each block, or of the feature map after each unit of a ResNet."""
    layers = list(survey.norms.values())
    encoder = survey.attended is not None
    first, after, place, places = (0, "block", "patch", "patches") if encoder else (1, "unit", "place", "places")
    depth = list(range(first, first + len(layers)))
    named = (
        ("largest", f"{place}, largest", ORANGE, "7 4"),
        ("mean", f"{place}, mean", BLUE, ""),
        ("class_token", "class token", GREEN, "2 4"),
    )
    series = [
        Line(name, depth, [layer[of] for layer in layers], colour, dashes)
        for of, name, colour, dashes in named
        if of in layers[0]
    ]
    drawn = charts.by_depth(series, first, f"after {after}", "norm")
    told = (
        "Length of the tokens after the embedding (0) and each block. In large models a few patches of plain "
        "background come to about ten times the length of the others and hold no local information any more; registers "
        "take that over."
        if encoder
        else "Length of the features at each place of the map, after each unit."
    )
    ratio = layers[-1]["largest"] / max(layers[-1]["mean"], 1e-12)
    return Exhibit(
        "Token norms" if encoder else "Norms of the feature maps",
        "arXiv 2309.16588, section 2" if encoder else "",
        f"{told} Mean and largest over all {places} of {survey.images} images: in the end the largest is {ratio:.1f} "
        "times the mean.",
        "token_norms.svg",
        drawn.encode(),
        drawn,
    )


def attention(survey: Survey, names: Sequence[str]) -> Exhibit:
    """Returns the images, called `names`, beside themselves with the attention over them."""
    title, paper = "Attention from the output to the image", "figures 6 and 14"
    if survey.attended is None:
        return Exhibit(title, paper, NOTHING_ATTENDS)
    images = [sized(image) for image in survey.shown]
    attended = [pictures.blended(*each) for each in zip(images, survey.attended.maps, strict=True)]
    tiles = [
        pictures.pair(image, over, f"image {html.escape(name)}", html.escape(name), FILE_PIXELS)
        for image, over, name in zip(images, attended, names, strict=True)
    ]
    beside = np.concatenate([np.stack(images), np.stack(attended)], axis=2)
    return Exhibit(
        title,
        paper,
        "Each image as the model sees it, and which patches reach what the answer is read from: attention averaged "
        "over the heads and multiplied through all blocks (rollout). Dark blue little, yellow much, scaled for each "
        "image by itself.",
        "attention_rollout.png",
        pictures.png(pictures.mosaic(beside, min(4, len(images)), gap=12)),
        f'<div class="tiles wide">{"".join(tiles)}</div>',
    )


def sized(image: np.ndarray) -> np.ndarray:
    """Returns an image in whole multiples of its pixels if it is small, shrunk if it is large."""
    height, width = image.shape[:2]
    if height > 2 * FILE_PIXELS:
        smaller = PIL.Image.fromarray(image).resize((2 * FILE_PIXELS * width // height, 2 * FILE_PIXELS))
        return np.asarray(smaller)
    times = -(-FILE_PIXELS // height)
    return image.repeat(times, axis=0).repeat(times, axis=1)
