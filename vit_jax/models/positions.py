"""Where a patch lies in its image: the kinds of position embedding, and how a learned grid takes another size."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError
from jax.typing import DTypeLike

from vit_jax.errors import UserError, pick
from vit_jax.shapes import Patches, PositionGrid, Prefix, ResizedGrid, Tokens

Positioned: TypeAlias = tuple[Patches, Prefix]


class Learned(nn.Module):
    """A learned vector for every place of the grid, and for every prefix token (paper, section 3.1).

    Parameters, float32: `grid` (rows, columns, width); `prefix` (count, width) where there are prefix tokens, unless
    only the patches have positions (`of_prefix` False).
    """

    of_prefix: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, patches: Patches, prefix: Prefix) -> Positioned:
        """Returns both, their positions added; raises UserError for a grid of another size."""
        normal = nn.initializers.normal(0.02)  # as Google's code draws the whole table
        try:
            grid = self.param("grid", normal, patches.shape[1:])
        except ScopeParamShapeError:
            trained, wanted = self.get_variable("params", "grid").shape, patches.shape[1:]
            raise UserError(
                f"positions were learned on a grid (rows, columns, width) of {trained}, these images make {wanted}; "
                "resize the images, or the positions with vit_jax.weights.adapt"
            ) from None
        patches += einops.rearrange(grid.astype(self.dtype), "rows columns width -> 1 rows columns width")
        if prefix.shape[1] and self.of_prefix:
            own = self.param("prefix", normal, prefix.shape[1:])
            prefix += einops.rearrange(own.astype(self.dtype), "count width -> 1 count width")
        return patches, prefix


class SinCos2D(nn.Module):
    """Fixed waves along columns and rows; the prefix tokens have no position (arXiv 2205.01580, section 3)."""

    dtype: DTypeLike = jnp.float32

    def __call__(self, patches: Patches, prefix: Prefix) -> Positioned:
        """Returns both, positions added to the patches."""
        waves = sincos2d(*patches.shape[1:]).astype(self.dtype)
        return patches + einops.rearrange(waves, "rows columns width -> 1 rows columns width"), prefix


class NoPositions(nn.Module):
    """The encoder sees a bag of patches (paper, table 8, first column), or rotary positions alone."""

    dtype: DTypeLike = jnp.float32

    def __call__(self, patches: Patches, prefix: Prefix) -> Positioned:
        """Returns both as they came."""
        return patches, prefix


POSITIONS = {
    "learned": Learned,
    "learned_patches": partial(Learned, of_prefix=False),
    "sincos2d": SinCos2D,
    "none": NoPositions,
}


def in_line(prefix: Prefix, patches: Patches) -> Tokens:
    """Returns the prefix tokens, then the patches row by row."""
    tokens = einops.rearrange(patches, "batch rows columns width -> batch (rows columns) width")
    return jnp.concatenate([prefix, tokens], axis=1)


def sincos2d(rows: int, columns: int, width: int, temperature: float = 10_000.0) -> PositionGrid:
    """Returns the grid [sin x, cos x, sin y, cos y] of big_vision, a quarter of `width` each; x counts columns.

    The frequencies fall geometrically from 1 to 1 / `temperature`, both included (MoCo v3 stops one step short of it).

    Raises:
      UserError: `width` is not a multiple of 4, or has a single frequency.
    """
    if width % 4 or width < 8:
        raise UserError(f"sincos2d positions need a width that is a multiple of 4, at least 8; got {width}")
    frequencies = temperature ** -jnp.linspace(0.0, 1.0, width // 4)

    def waves(count: int) -> jax.Array:
        angles = jnp.outer(jnp.arange(count), frequencies)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)

    along_columns = einops.repeat(waves(columns), "columns half -> rows columns half", rows=rows)
    along_rows = einops.repeat(waves(rows), "rows half -> rows columns half", columns=columns)
    return jnp.concatenate([along_columns, along_rows], axis=-1)


def half_pixel(grid: PositionGrid, size: tuple[int, int], method: str, antialias: bool) -> ResizedGrid:
    """Returns `grid` at `size` = (rows, columns), where the outer edges of the grid stay in place."""
    return jax.image.resize(grid, (*size, grid.shape[-1]), method, antialias)


@partial(jax.jit, static_argnames="size")
def linear_align_corners(grid: PositionGrid, size: tuple[int, int]) -> ResizedGrid:
    """Returns `grid` at `size` = (rows, columns), where the centres of the corner cells stay in place.

    The same numbers as `scipy.ndimage.zoom(order=1)`, which Google's fine-tuning code used; it never antialiases.
    """
    scale, translation = zip(*map(_corner_to_corner, grid.shape[:2], size), strict=True)
    return jax.image.scale_and_translate(
        grid, (*size, grid.shape[-1]), (0, 1), jnp.array(scale), jnp.array(translation), "linear", antialias=False
    )


def _corner_to_corner(before: int, after: int) -> tuple[float, float]:
    if before == 1:
        return float(after), 0.0  # one cell covers the whole axis
    scale = (after - 1) / (before - 1) if after > 1 else 1.0  # a single cell left is the first one
    return scale, (1 - scale) / 2


@partial(jax.jit, static_argnames="size")
def cubic_torch_offset(grid: PositionGrid, size: tuple[int, int]) -> ResizedGrid:
    """Returns `grid` at `size` = (rows, columns) as DINO and DINOv2 were run: a scale of (size + 0.1) / before.

    torch's interpolate(mode="bicubic", scale_factor=…) samples by the scale that it was given, which the tenth keeps
    from falling a hair short of `size` (facebookresearch/dino, vision_transformer.py).
    """
    scale = jnp.array([(after + 0.1) / before for before, after in zip(grid.shape[:2], size, strict=True)])
    return jax.image.scale_and_translate(
        grid, (*size, grid.shape[-1]), (0, 1), scale, jnp.zeros(2), "cubic-pytorch", antialias=False
    )


# "linear" and "cubic" (a = -0.5) antialias when they shrink, as jax.image, TensorFlow's antialias and timm do.
# "cubic_torch" is torch's interpolate(mode="bicubic"): a = -0.75, border repeated, no antialias.
RESIZE: dict[str, Callable[[PositionGrid, tuple[int, int]], ResizedGrid]] = {
    "linear": partial(half_pixel, method="linear", antialias=True),
    "linear_align_corners": linear_align_corners,
    "cubic": partial(half_pixel, method="cubic", antialias=True),
    "cubic_torch": partial(half_pixel, method="cubic-pytorch", antialias=False),
    "cubic_torch_offset": cubic_torch_offset,
}


def resize(grid: PositionGrid, size: tuple[int, int], kernel: str) -> ResizedGrid:
    """Returns `grid` at `size` = (rows, columns), by the kernel of RESIZE that its family was published with.

    A grid that has this size already comes back bit for bit (paper, section 3.2: only a new resolution interpolates).
    """
    change = pick(RESIZE, kernel, "kernel to resize positions")
    return grid if grid.shape[:2] == tuple(size) else change(grid, size)
