"""Rotary positions: queries and keys turned, pair of channels by pair, by angles that tell where their patch lies."""

import dataclasses
from collections.abc import Callable

import einops
import jax
import jax.numpy as jnp

from vit_jax.errors import UserError
from vit_jax.shapes import Angles, PositionGrid, Queries


@dataclasses.dataclass(frozen=True)
class Rotary:
    """One way to turn.

    Attributes:
      angles: from the (rows, columns) of patches and the count of pairs to radians (rows, columns, pairs).
      pairs: einops, which two channels of a head make a pair.
    """

    angles: Callable[[int, int, int], PositionGrid]
    pairs: str


def eva02_angles(rows: int, columns: int, pairs: int) -> PositionGrid:
    """Returns the angles of EVA-02 (arXiv 2303.11331): places counted as on a grid of 16 x 16, rows in the first half.

    Frequencies fall geometrically from 1, one step short of 1 / 10,000.
    """
    frequencies = 10_000.0 ** -(jnp.arange(pairs // 2) / (pairs // 2))
    y, x = jnp.arange(rows) / rows * 16, jnp.arange(columns) / columns * 16
    return _of_both_axes(y, x, frequencies)


def dinov3_angles(rows: int, columns: int, pairs: int) -> PositionGrid:
    """Returns the angles of DINOv3 (arXiv 2508.10104): centres of patches in [-1, 1] on either axis, times 2 pi.

    Rows in the first half; frequencies fall geometrically from 1, one step short of 1 / 100. They are float32's, as in
    timm and transformers; in the files that Meta published they are rounded to bfloat16, and its own code computes with
    those (timm 1.0.31, layers/pos_embed_sincos.py).
    """
    frequencies = 100.0 ** -(jnp.arange(pairs // 2) / (pairs // 2))
    y, x = (2 * (jnp.arange(count) + 0.5) / count - 1 for count in (rows, columns))
    return 2 * jnp.pi * _of_both_axes(y, x, frequencies)


def _of_both_axes(y: jax.Array, x: jax.Array, frequencies: jax.Array) -> PositionGrid:
    along_rows = einops.repeat(jnp.outer(y, frequencies), "rows half -> rows columns half", columns=len(x))
    along_columns = einops.repeat(jnp.outer(x, frequencies), "columns half -> rows columns half", rows=len(y))
    return jnp.concatenate([along_rows, along_columns], axis=-1)


ROTARY: dict[str, Rotary | None] = {
    "none": None,
    "eva02": Rotary(eva02_angles, "(pairs two)"),
    "dinov3": Rotary(dinov3_angles, "(two pairs)"),
}


def angles(kind: str, grid: tuple[int, int], prefix: int, head_width: int) -> Angles | None:
    """Returns the angles of every token (tokens, pairs), zeros for the `prefix`; None where nothing is turned.

    Raises:
      UserError: heads whose channels do not make pairs on both axes.
    """
    rotary = ROTARY[kind]
    if rotary is None:
        return None
    if head_width % 4:
        raise UserError(f'rotary "{kind}" needs heads of a width that is a multiple of 4; got {head_width}')
    of_patches = rotary.angles(*grid, head_width // 2).reshape(-1, head_width // 2)
    return jnp.concatenate([jnp.zeros((prefix, head_width // 2)), of_patches])


def turned(queries: Queries, angles: Angles, kind: str) -> Queries:
    """Returns `queries`, or keys, each pair of channels turned by its angle; computed in float32."""
    rotary = ROTARY[kind]
    assert rotary is not None
    channels = f"batch tokens heads {rotary.pairs}"
    first, second = einops.rearrange(queries.astype(jnp.float32), f"{channels} -> two batch tokens heads pairs", two=2)
    cosine, sine = (einops.rearrange(f(angles), "tokens pairs -> 1 tokens 1 pairs") for f in (jnp.cos, jnp.sin))
    both = jnp.stack([first * cosine - second * sine, second * cosine + first * sine])
    return einops.rearrange(both, f"two batch tokens heads pairs -> {channels}").astype(queries.dtype)
