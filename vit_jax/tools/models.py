"""`models`: every size by name, with its parameter count beside the paper's."""

import rich.console
import rich.table

from vit_jax import models
from vit_jax.models import counts
from vit_jax.models.sizes import ENCODERS, by_name
from vit_jax.tools.arguments import Parser

# Paper, table 1: rounded, and by no single rule of what is counted.
PAPER = {"B": "86M", "L": "307M", "H": "632M"}
PATCHES = {"H": (14,), "g": (14,), "G": (14,), "e": (14,), "So400m": (14,), "B": (32, 16, 8), "L": (32, 16)}


def main(arguments: list[str]) -> int:
    """Prints the table; returns 0."""
    parser = Parser("models", "Prints sizes by name. Any encoder goes with any patch: Ti/4, B/16x8.")
    parser.add_argument("names", nargs="*", metavar="SIZE", help="which; all, with their usual patches, if none")
    parser.add_argument("--classes", type=int, default=1000, help="of the head that is counted (default 1000)")
    parser.add_argument("--image-size", type=int, default=224, help="in pixels, of a square image (default 224)")
    given = parser.parse(arguments)

    table = rich.table.Table("size", "width", "depth", "heads", "MLP", "parameters", "paper")
    for column in table.columns[1:]:
        column.justify = "right"
    usual = [f"{encoder}/{patch}" for encoder in ENCODERS for patch in PATCHES.get(encoder, (32, 16))]
    for name in given.names or usual:
        size = by_name(name)
        count = counts.parameters(models.build(name, classes=given.classes), (given.image_size, given.image_size))
        numbers = (size.width, size.depth, size.heads, size.mlp_hidden)
        table.add_row(name, *map(str, numbers), f"{count:,}", PAPER.get(name.partition("/")[0], ""))
    rich.console.Console(width=100, highlight=False).print(table)
    return 0
