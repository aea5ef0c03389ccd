"""The Vision Transformer of "An Image is Worth 16x16 Words" (arXiv 2010.11929, section 3.1)."""

from functools import partial

import einops
import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from vit_jax.errors import UserError, pick
from vit_jax.models.attention import Attention
from vit_jax.models.heads import POOLS, AttentionPool
from vit_jax.models.intermediates import keep
from vit_jax.models.mlp import Mlp
from vit_jax.models.positions import POSITIONS
from vit_jax.models.sizes import Size
from vit_jax.models.stem import Stem
from vit_jax.shapes import Images, Logits, Patches, Tokens


class Block(nn.Module):
    """Attention, then an MLP; each reads a normed copy and adds what it found (paper, eq. 2 and 3).

    `stochastic_depth` is the chance that an image skips a half of the block in training (arXiv 1603.09382).
    """

    heads: int
    mlp_hidden: int
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens, train: bool) -> Tokens:
        """Returns tokens of the same shape."""
        norm = partial(nn.LayerNorm, self.norm_epsilon, dtype=self.dtype)
        attention = Attention(self.heads, self.dtype, name="attention")
        mlp = Mlp(self.mlp_hidden, self.activation, self.dropout, self.dtype, name="mlp")
        drop = nn.Dropout(self.dropout, deterministic=not train)
        skip = nn.Dropout(self.stochastic_depth, broadcast_dims=(1, 2), deterministic=not train)

        normed = norm(name="norm_attention")(tokens)
        tokens += skip(drop(attention(normed, normed)))
        tokens += skip(drop(mlp(norm(name="norm_mlp")(tokens), train)))
        keep(self, "output", tokens)
        return tokens


class Encoder(nn.Module):
    """`size.depth` blocks and a last norm; the chance to skip a block rises linearly from 0 to `stochastic_depth`."""

    size: Size
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens, train: bool) -> Tokens:
        """Returns tokens of the same shape."""
        block = partial(
            Block, self.size.heads, self.size.mlp_hidden, self.activation, self.norm_epsilon, self.dropout,
            dtype=self.dtype,
        )  # fmt: skip
        for depth in range(self.size.depth):
            skip = self.stochastic_depth * depth / max(1, self.size.depth - 1)
            tokens = block(stochastic_depth=skip, name=f"block{depth:02}")(tokens, train)
        return nn.LayerNorm(self.norm_epsilon, dtype=self.dtype, name="norm")(tokens)


class Vit(nn.Module):
    """Images to logits.

    Attributes:
      size: width, depth, heads, hidden size of the MLP, patch; the stem of a hybrid.
      classes: how many logits; 0 leaves the head out and returns the features.
      pool: "class_token" (the paper's), "mean", "map" (attention pooling) or "none". Only the first has a class token.
      positions: "learned" (the paper's), "sincos2d" or "none".
      pre_logits: width of a dense layer with tanh before the head (paper, section 3.1: in pre-training); 0 for none.
      head_bias: what the head's bias starts from; its kernel starts from zero.
      activation: "gelu_tanh" or "gelu_exact".
      norm_epsilon: added to the variance by every norm.
      dropout: after every dense layer but query, key and value, and after the positions (paper, appendix B.1).
      stochastic_depth: the chance to skip the last block; earlier ones less.
      standardization: of the kernels of a hybrid's stem, a name in resnet.STANDARDIZATIONS.
      stem_norm_epsilon: added to the variance by every norm of a hybrid's stem.
      dtype: what the layers compute in. Parameters, softmax, norm statistics and logits are float32 throughout.
    """

    size: Size
    classes: int
    pool: str = "class_token"
    positions: str = "learned"
    pre_logits: int = 0
    head_bias: float = 0.0
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    standardization: str = "google"
    stem_norm_epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layers; only those that are called have parameters."""
        size, numerics = self.size, (self.activation, self.norm_epsilon)
        if size.stem:
            self.stem = Stem(size.stem, self.standardization, self.stem_norm_epsilon, self.dtype)
        self.patch_embedding = nn.Conv(size.width, size.patch, size.patch, padding="VALID", dtype=self.dtype)
        if self.pool == "class_token":
            self.class_token = self.param("class_token", nn.initializers.zeros, (1, size.width))
        self.add_positions = pick(POSITIONS, self.positions, "positions")(dtype=self.dtype, name="positions")
        self.drop = nn.Dropout(self.dropout)
        self.encoder = Encoder(size, *numerics, self.dropout, self.stochastic_depth, self.dtype)
        self.pooled = pick(POOLS, self.pool, "pool")
        if self.pooled is AttentionPool:
            self.pooled = AttentionPool(size.heads, size.mlp_hidden, *numerics, self.dtype, name="pool")
        self.hidden = nn.Dense(self.pre_logits, dtype=self.dtype, name="pre_logits")
        zeros, bias = nn.initializers.zeros, nn.initializers.constant(self.head_bias)
        self.head = nn.Dense(self.classes, kernel_init=zeros, bias_init=bias)

    def __call__(self, images: Images, train: bool) -> Logits:
        """Returns a row of logits an image, or a token where `pool` is "none"."""
        tokens = self.in_line(self.embed(images))
        tokens = self.encode(tokens, train)
        return self.read(tokens)

    def embed(self, images: Images) -> Patches:
        """Returns an embedding for each patch, of a hybrid's map too (paper, eq. 1, without the positions)."""
        features = divisible(images, self.size.stride)
        if self.size.stem:
            features = self.stem(features)
        return self.patch_embedding(features)

    def in_line(self, patches: Patches) -> Tokens:
        """Returns the class token, if there is one, and the patches row by row, with their positions added."""
        prefix = jnp.zeros((patches.shape[0], 0, self.size.width), self.dtype)
        if self.pool == "class_token":
            token = self.class_token.astype(self.dtype)
            prefix = einops.repeat(token, "one width -> batch one width", batch=patches.shape[0])
        return self.add_positions(patches, prefix)

    def encode(self, tokens: Tokens, train: bool) -> Tokens:
        """Returns what the encoder makes of the tokens (paper, eq. 2 and 3, and the norm of eq. 4)."""
        tokens = self.drop(tokens, deterministic=not train)
        keep(self, "embedded", tokens)
        return self.encoder(tokens, train)

    def read(self, tokens: Tokens) -> Logits:
        """Returns the logits, or the features of a model without classes, in float32."""
        features = self.pooled(tokens)
        if self.pre_logits:
            features = nn.tanh(self.hidden(features))
        features = features.astype(jnp.float32)
        keep(self, "features", features)
        return self.head(features) if self.classes else features


def divisible(images: Images, patch: tuple[int, int]) -> Images:
    """Returns `images`; raises UserError if patches of this (height, width) do not tile them."""
    height, width = images.shape[1:3]
    if height % patch[0] or width % patch[1]:
        raise UserError(
            f"image {height}x{width} does not divide into patches of {patch[0]}x{patch[1]}; "
            "resize it or choose another patch"
        )
    return images
