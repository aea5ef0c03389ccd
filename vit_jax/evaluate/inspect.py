"""What a model looks at and what it has learned: pure functions of its arrays (paper, section 4.5 and appendix D.8)."""

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Float

from vit_jax.errors import UserError
from vit_jax.models.heads import POOLS
from vit_jax.shapes import AttentionWeights, Images, Parameters, PositionGrid, Tokens

Intermediates: TypeAlias = dict[str, jax.Array]  # by path
Distances: TypeAlias = Float[jax.Array, "batch heads"]
AttentionMap: TypeAlias = Float[jax.Array, "batch rows columns"]
Rollout: TypeAlias = Float[jax.Array, "batch tokens tokens"]
Similarity: TypeAlias = Float[jax.Array, "rows columns rows columns"]
Kernel: TypeAlias = Float[jax.Array, "height width channels filters"]
Pictures: TypeAlias = Float[jax.Array, "count height width channels"]


def intermediates(model: nn.Module, parameters: Parameters, images: Images) -> Intermediates:
    """Returns what the layers keep of a forward pass, by path, as in "encoder/block00/attention/weights".

    Beside what models.intermediates keeps there is "patch_embedding": the embedded patches (batch, rows, columns,
    width), if there are any, which tell how the tokens lie in the image.
    """

    def embeds(module: nn.Module, method: str) -> bool:
        return module.name == "patch_embedding" and method == "__call__"

    kept: Any = model.apply(
        {"params": parameters}, images, False, capture_intermediates=embeds, mutable=["intermediates"]
    )[1]
    found: Any = flatten_dict(kept["intermediates"], sep="/")
    if "patch_embedding/__call__" in found:
        found["patch_embedding"] = found.pop("patch_embedding/__call__")[0]
    return found


def grid_of(kept: Intermediates) -> tuple[int, int] | None:
    """Returns how many (rows, columns) of patches stand among the tokens, None where nothing was embedded."""
    if "patch_embedding" not in kept:
        return None
    _, rows, columns, _ = kept["patch_embedding"].shape
    return rows, columns


def attention_weights(kept: Intermediates) -> list[AttentionWeights]:
    """Returns the attention weights (batch, heads, tokens, tokens) of every block, the first block's first."""
    return [kept[name] for name in sorted(kept) if re.fullmatch(r"encoder/\w+/attention/weights", name)]


def layer_outputs(kept: Intermediates) -> dict[str, Tokens]:
    """Returns the tokens after the embedding ("embedded") and after each block, by its path and in order.

    Of a network without encoder: after each of its units, every place of the feature map being a token.
    """
    names = [name.removesuffix("/output") for name in sorted(kept) if name.endswith("/output")]
    blocks = [name for name in names if name.startswith("encoder/")]
    if blocks:
        return {"embedded": kept["embedded"]} | {name: kept[f"{name}/output"] for name in blocks}
    return {
        name: einops.rearrange(kept[f"{name}/output"], "batch rows columns width -> batch (rows columns) width")
        for name in names
    }


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


def attention_map(kept: Intermediates, pool: str) -> AttentionMap:
    """Returns how much of each patch reaches what the head reads, by rollout; sums to 1 over an image.

    The head reads the tokens as `pool` weighs them (of attention pooling, the mean of its heads). What reaches it from
    other tokens than patches is left out.

    Args:
      kept: the intermediates of the model.
      pool: of the model, a name in models.heads.POOLS.

    Raises:
      UserError: there is no block.
    """
    rollout = attention_rollout(attention_weights(kept))
    batch, _, tokens = rollout.shape
    rows, columns = kept["patch_embedding"].shape[1:3]
    prefix = tokens - rows * columns
    if pool == "map":  # which reads patches alone
        read = jnp.pad(kept["pool/attention/weights"].mean(axis=(1, 2)), ((0, 0), (prefix, 0)))
    else:  # what a mean, or a choice, makes of unit vectors is how it weighs them
        read = POOLS[pool](jnp.eye(tokens)[None], prefix).reshape(-1, tokens).mean(axis=0)
        read = jnp.broadcast_to(read, (batch, tokens))
    found = jnp.einsum("bo,boi->bi", read, rollout)[:, prefix:]
    found /= found.sum(axis=-1, keepdims=True)
    return einops.rearrange(found, "batch (rows columns) -> batch rows columns", rows=rows, columns=columns)


def attention_distance(weights: AttentionWeights, grid: tuple[int, int], patch: tuple[float, float]) -> Distances:
    """Returns how far each head of a block looks, in pixels (paper, figure 7 right, figure 11 and appendix D.7).

    That is the distance from the centre of the patch that asks to the centre of the patch attended to, weighted by the
    attention and averaged over the patches that ask. The tokens before the patches are left out, and each patch's
    attention to the others is scaled to sum to 1.

    Args:
      weights: of a block.
      grid: (rows, columns) of patches.
      patch: (height, width) from one patch to the next, in pixels.
    """
    rows, columns = grid
    prefix = weights.shape[-1] - rows * columns
    among = weights[:, :, prefix:, prefix:]
    among /= jnp.maximum(among.sum(axis=-1, keepdims=True), 1e-12)
    y, x = jnp.meshgrid(patch[0] * jnp.arange(rows), patch[1] * jnp.arange(columns), indexing="ij")
    centres = jnp.stack([y.ravel(), x.ravel()], axis=-1)
    apart = jnp.linalg.norm(centres[:, None] - centres[None], axis=-1)
    return jnp.einsum("bhqk,qk->bhq", among, apart).mean(axis=-1)


def token_norms(tokens: Tokens, patches: int, class_token: bool) -> dict[str, Float[jax.Array, " batch"]]:
    """Returns the Euclidean norms of the last `patches` tokens, "mean" and "largest", and that of a "class_token".

    The first token is that, in a model that has one (`class_token`).

    Few patches with a norm many times the mean are what registers are for (arXiv 2309.16588, section 2).
    """
    norms = jnp.linalg.norm(tokens.astype(jnp.float32), axis=-1)
    prefix = norms.shape[-1] - patches
    found = {"mean": norms[:, prefix:].mean(axis=-1), "largest": norms[:, prefix:].max(axis=-1)}
    return found | ({"class_token": norms[:, 0]} if class_token else {})


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
