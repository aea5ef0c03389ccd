"""Sizes by name: "B/16" is the Base encoder on patches of 16x16 pixels."""

import dataclasses
import re

from vit_jax.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Size:
    """The numbers that make a Vision Transformer small or large (paper, table 1).

    `patch` is (height, width) in pixels and may be non-square.
    """

    width: int
    depth: int
    mlp_hidden: int
    heads: int
    patch: tuple[int, int]

    def __post_init__(self):
        if min(self.width, self.depth, self.mlp_hidden, self.heads, *self.patch) < 1:
            raise UserError(f"every number of a size is at least 1; got {self}")
        if self.width % self.heads:
            raise UserError(f"width {self.width} does not divide among {self.heads} heads; change one of them")


# (width, depth, mlp_hidden, heads). Base, Large, Huge: paper, table 1; Ti, S: DeiT and AugReg (2106.10270, table 2);
# g, G: 2106.04560, table 2; So400m and the -opt shapes: 2305.13035; e: 2209.06794; mu, M: big_vision.
ENCODERS = {
    "mu": (32, 1, 128, 2),
    "Ti": (192, 12, 768, 3),
    "S": (384, 12, 1536, 6),
    "M": (512, 12, 2048, 8),
    "B": (768, 12, 3072, 12),
    "L": (1024, 24, 4096, 16),
    "So400m": (1152, 27, 4304, 16),
    "H": (1280, 32, 5120, 16),
    "g": (1408, 40, 6144, 16),
    "g-opt": (1536, 40, 6144, 16),
    "G": (1664, 48, 8192, 16),
    "G-opt": (1536, 48, 8192, 16),
    "e": (1792, 56, 15360, 16),
}


def by_name(name: str) -> Size:
    """Returns the size that `name` stands for: an encoder, a slash, a patch.

    >>> by_name("B/16")
    Size(width=768, depth=12, mlp_hidden=3072, heads=12, patch=(16, 16))
    >>> by_name("Ti/8x4").patch
    (8, 4)
    """
    encoder, _, patch = name.partition("/")
    if encoder not in ENCODERS:
        raise UserError(f'unknown model size "{name}".{did_you_mean(encoder, ENCODERS)} Then a patch, as in "B/16".')
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", patch)
    if not found:
        raise UserError(f'model size "{name}" has no patch size; write it as in "{encoder}/16" or "{encoder}/16x8"')
    height, width = int(found[1]), int(found[2] or found[1])
    return Size(*ENCODERS[encoder], patch=(height, width))
