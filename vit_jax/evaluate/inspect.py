"""What a model looks at and what it has learned: pure functions of its arrays (paper, section 4.5 and appendix D.8)."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from vit_jax.errors import UserError
from vit_jax.shapes import AttentionWeights, Images, Parameters, PositionGrid

Rollout: TypeAlias = Float[jax.Array, "batch tokens tokens"]
Similarity: TypeAlias = Float[jax.Array, "rows columns rows columns"]
Kernel: TypeAlias = Float[jax.Array, "height width channels filters"]
Pictures: TypeAlias = Float[jax.Array, "count height width channels"]


def attention_weights(model: nn.Module, parameters: Parameters, images: Images) -> list[AttentionWeights]:
    """Returns the attention weights (batch, heads, tokens, tokens) of every block, the first block's first."""
    kept: Any = model.apply({"params": parameters}, images, False, mutable=["intermediates"])[1]
    encoder = kept["intermediates"]["encoder"]
    return [encoder[block]["attention"]["weights"] for block in sorted(encoder) if "attention" in encoder[block]]


def attention_rollout(weights: Sequence[AttentionWeights]) -> Rollout:
    """Returns how much of each input token reaches each output token: (batch, tokens out, tokens in), rows sum to 1.

    The heads' mean, half of it the identity for the residual connection, multiplied through the blocks in their order
    (paper, appendix D.8; Abnar and Zuidema, arXiv 2005.00928, section 3.2).

    Raises:
      UserError: there is no block.
    """
    if not weights:
        raise UserError("a rollout needs the attention weights of at least one block; got none")
    identity = jnp.eye(weights[0].shape[-1])[None]
    rollout = identity
    for block in weights:
        mixed = block.mean(axis=1) + identity
        mixed /= mixed.sum(axis=-1, keepdims=True)
        rollout = jnp.einsum("boi,bij->boj", mixed, jnp.broadcast_to(rollout, mixed.shape))
    return rollout


def position_similarity(grid: PositionGrid) -> Similarity:
    """Returns the cosine between the position embedding of each place and that of every other (paper, figure 7)."""
    lengths = jnp.linalg.norm(grid, axis=-1, keepdims=True)
    directions = grid / jnp.maximum(lengths, 1e-12)
    return jnp.einsum("rcw,ijw->rcij", directions, directions)


def patch_filters(kernel: Kernel, count: int) -> Pictures:
    """Returns the first principal components of the patch embedding as images in [0, 1] (paper, figure 7 left).

    Each is scaled by itself, 0.5 meaning no weight, and signed so that its largest weight is positive.

    Args:
      kernel: of the patch embedding, (height, width, channels, filters).
      count: how many, the one with the largest variance first.

    Raises:
      UserError: the kernel has fewer components than `count`.
    """
    height, width, channels, filters = kernel.shape
    most = min(height * width * channels, filters)
    if not 1 <= count <= most:
        raise UserError(f"{count} principal components were asked for; this kernel has 1 to {most}")
    flat = einops.rearrange(kernel, "height width channels filters -> filters (height width channels)")
    centred = flat - flat.mean(axis=0, keepdims=True)
    _, _, components = jnp.linalg.svd(centred, full_matrices=False)
    components = components[:count]
    largest = jnp.take_along_axis(components, jnp.abs(components).argmax(axis=1, keepdims=True), axis=1)
    pictures = 0.5 + 0.5 * components / largest
    return einops.rearrange(
        pictures, "count (height width channels) -> count height width channels", height=height, width=width
    )
