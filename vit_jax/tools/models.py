"""`models`: every size by name, with its parameter count beside the paper's."""

import rich.console
import rich.table

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import counts
from vit_jax.models.sizes import ENCODERS, HYBRIDS, RESNETS, ResNetSize, Size, by_name
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
    if given.classes < 0 or given.image_size < 1:
        raise UserError(f"--classes is at least 0, --image-size 1; got {given.classes} and {given.image_size}")

    table = rich.table.Table("size", "width", "depth", "heads", "MLP", "ResNet", "parameters", "paper")
    for column in table.columns[1:]:
        column.justify = "right"
    usual = [f"{encoder}/{patch}" for encoder in ENCODERS for patch in PATCHES.get(encoder, (32, 16))]
    for name in given.names or [*usual, *HYBRIDS, *RESNETS]:
        count = counts.parameters(models.build(name, classes=given.classes), (given.image_size, given.image_size))
        table.add_row(name, *numbers(by_name(name)), f"{count:,}", PAPER.get(name.partition("/")[0], ""))
    rich.console.Console(width=100, highlight=False).print(table)
    return 0


def numbers(size: Size | ResNetSize) -> tuple[str, ...]:
    """Returns width, depth, heads and hidden size of the encoder, and the units of the ResNet's stages.

    >>> numbers(by_name("R50+B/16"))
    ('768', '12', '12', '3072', '3-4-9')
    """
    if isinstance(size, ResNetSize):
        return str(size.width), "", "", "", "-".join(map(str, size.units))
    stem = "" if size.stem is None else "-".join(map(str, size.stem.units)) or "root"
    return str(size.width), str(size.depth), str(size.heads), str(size.mlp_hidden), stem
