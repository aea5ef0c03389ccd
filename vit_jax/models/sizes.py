"""Sizes by name: "B/16" is the Base encoder on patches of 16x16 pixels, "R50x1" a ResNet-50 of the usual width."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from vit_jax.errors import UserError, construct, did_you_mean

GROUPS = 32  # of channels, in every norm of a ResNet


@dataclasses.dataclass(frozen=True)
class ResNetSize:
    """The numbers that make a ResNet of bottlenecks large or small.

    Attributes:
      units: how many bottlenecks each stage has; none at all leaves the root convolution and its pooling.
      width: channels of the root, and of the first stage's bottlenecks; each later stage doubles them. A name such as
        "R50x3" gives it in units of 64.

    Raises:
      UserError: an empty stage, or channels that 32 groups do not share evenly.
    """

    units: tuple[int, ...]
    width: int = 64

    def __post_init__(self):
        if min(self.units, default=1) < 1:
            raise UserError(f"every stage of a ResNet has at least 1 unit; got {self.units}")
        if self.width < 1 or self.width % GROUPS:
            raise UserError(f"a ResNet's width is a multiple of {GROUPS}, its norms' groups; got {self.width}")

    @property
    def stride(self) -> tuple[int, int]:
        """Pixels from one place of the last map to the next, down and across: root and pooling halve, then stages."""
        return (4 * 2 ** max(0, len(self.units) - 1),) * 2


@dataclasses.dataclass(frozen=True)
class Size:
    """The numbers that make a Vision Transformer small or large (paper, table 1).

    `patch` is (height, width) and may be non-square: in pixels, or, where there is a `stem`, in places of its map. The
    stem makes a hybrid (paper, section 3.1).
    """

    width: int
    depth: int
    mlp_hidden: int
    heads: int
    patch: tuple[int, int]
    stem: ResNetSize | None = None

    def __post_init__(self):
        if min(self.width, self.depth, self.mlp_hidden, self.heads, *self.patch) < 1:
            raise UserError(f"every number of a size is at least 1; got {self}")
        if self.width % self.heads:
            raise UserError(f"width {self.width} does not divide among {self.heads} heads; change one of them")

    @property
    def stride(self) -> tuple[int, int]:
        """Pixels from one token to the next, down and across."""
        height, width = self.stem.stride if self.stem else (1, 1)
        return self.patch[0] * height, self.patch[1] * width


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

# Encoder, units of the stem's stages, patch on the stem's map. A /16 moves the units of stage 4 into stage 3 (paper,
# section 4.1). R+Ti/16 bears its published name (AugReg, table 2) and really is a /32: its map has a place every 4
# pixels, and the patch takes 8 of them.
HYBRIDS = {
    "R+Ti/16": ("Ti", (), 8),
    "R26+S/32": ("S", (2, 2, 2, 2), 1),
    "R26+B/32": ("B", (2, 2, 2, 2), 1),
    "R50+B/16": ("B", (3, 4, 9), 1),
    "R50+B/32": ("B", (3, 4, 6, 3), 1),
    "R50+L/16": ("L", (3, 4, 9), 1),
    "R50+L/32": ("L", (3, 4, 6, 3), 1),
}

# Units of the stages, and width in units of 64: the paper's ResNets (table 6), and those of BiT (1912.11370).
RESNETS = {
    "R50x1": ((3, 4, 6, 3), 1),
    "R50x2": ((3, 4, 6, 3), 2),
    "R50x3": ((3, 4, 6, 3), 3),
    "R101x1": ((3, 4, 23, 3), 1),
    "R101x3": ((3, 4, 23, 3), 3),
    "R152x1": ((3, 8, 36, 3), 1),
    "R152x2": ((3, 8, 36, 3), 2),
    "R152x4": ((3, 8, 36, 3), 4),
    "R200x3": ((3, 24, 36, 3), 3),
}


def by_name(name: str) -> Size | ResNetSize:
    """Returns the size that `name` stands for: a ResNet, a hybrid, or an encoder, a slash, a patch.

    >>> by_name("B/16")
    Size(width=768, depth=12, mlp_hidden=3072, heads=12, patch=(16, 16), stem=None)
    >>> by_name("Ti/8x4").patch
    (8, 4)
    >>> by_name("R50+B/16").stem
    ResNetSize(units=(3, 4, 9), width=64)
    """
    if name in RESNETS:
        units, factor = RESNETS[name]
        return ResNetSize(units, 64 * factor)
    if name in HYBRIDS:
        encoder, units, side = HYBRIDS[name]
        return Size(*ENCODERS[encoder], patch=(side, side), stem=ResNetSize(units))
    if name.startswith("R"):
        raise UserError(f'unknown model size "{name}".{did_you_mean(name, [*RESNETS, *HYBRIDS])}')
    encoder, _, patch = name.partition("/")
    if encoder not in ENCODERS:
        raise UserError(f'unknown model size "{name}".{did_you_mean(encoder, ENCODERS)} Then a patch, as in "B/16".')
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", patch)
    if not found:
        raise UserError(f'model size "{name}" has no patch size; write it as in "{encoder}/16" or "{encoder}/16x8"')
    height, width = int(found[1]), int(found[2] or found[1])
    return Size(*ENCODERS[encoder], patch=(height, width))


def name_of(size: Size | ResNetSize) -> str | None:
    """Returns the name that `by_name` takes for this size, None where it has none.

    >>> name_of(by_name("R50+B/16")), name_of(by_name("g/14")), name_of(by_name("B/16x8"))
    ('R50+B/16', 'g/14', 'B/16x8')
    """
    names = [*RESNETS, *HYBRIDS]
    if isinstance(size, Size):
        height, width = size.patch
        names += [f"{encoder}/{height}" if height == width else f"{encoder}/{height}x{width}" for encoder in ENCODERS]
    return next((name for name in names if by_name(name) == size), None)


def by_numbers(numbers: Mapping[str, Any], where: str) -> Size | ResNetSize:
    """Returns the size whose fields a config or a recipe gives at `where`: a ResNet's if there are `units`.

    Raises:
      UserError: a field that there is not, or one that lacks.
    """
    if "units" in numbers:
        return _resnet(numbers, where)
    patch = tuple(numbers.get("patch", ()))
    if len(patch) != 2:
        raise UserError(f"{where}.patch is (height, width) in pixels; got {patch}")
    stem = numbers.get("stem")
    stem = None if stem is None else _resnet(stem, f"{where}.stem")
    return construct(Size, where, **{**numbers, "patch": patch, "stem": stem})


def _resnet(numbers: Mapping[str, Any], where: str) -> ResNetSize:
    units = {"units": tuple(numbers["units"])} if "units" in numbers else {}
    return construct(ResNetSize, where, **{**numbers, **units})


def numbers_of(size: Size | ResNetSize) -> dict[str, Any]:
    """Returns the fields from which `by_numbers` makes an equal size, as plain JSON values."""

    def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
        lists = {name: list(value) for name, value in fields.items() if isinstance(value, tuple)}
        nested = {name: plain(value) for name, value in fields.items() if isinstance(value, Mapping)}
        return {name: value for name, value in fields.items() if value is not None} | lists | nested

    return plain(dataclasses.asdict(size))
