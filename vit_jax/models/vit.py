"""The Vision Transformer of "An Image is Worth 16x16 Words" (arXiv 2010.11929, section 3.1)."""

from functools import partial

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vit_jax.errors import UserError
from vit_jax.models import rotary
from vit_jax.models.architecture import Architecture
from vit_jax.models.attention import Attention
from vit_jax.models.heads import POOLS, AttentionPool
from vit_jax.models.intermediates import keep
from vit_jax.models.mlp import MLPS, Mlp
from vit_jax.models.positions import POSITIONS, in_line
from vit_jax.models.sizes import Size
from vit_jax.models.stem import Stem
from vit_jax.shapes import Angles, Images, Logits, Patches, Prefix, Tokens


class Block(nn.Module):
    """Attention, then an MLP; each reads a normed copy and adds what it found (paper, eq. 2 and 3).

    `stochastic_depth` is the chance that an image skips a half of the block in training (arXiv 1603.09382).
    """

    heads: int
    mlp_hidden: int
    architecture: Architecture = Architecture()
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens, angles: Angles | None, train: bool) -> Tokens:
        """Returns tokens of the same shape; queries and keys are turned by `angles`, if there are any."""
        made, numerics = self.architecture, {"norm_epsilon": self.architecture.norm_epsilon, "dtype": self.dtype}
        norm = partial(nn.LayerNorm, made.norm_epsilon, dtype=self.dtype)
        attention = Attention(
            self.heads, made.attention_bias, made.qk_norm, rotary=made.rotary, **numerics, name="attention"
        )
        mlp = Mlp(self.mlp_hidden, made.activation, **MLPS[made.mlp], dropout=self.dropout, **numerics, name="mlp")
        drop = nn.Dropout(self.dropout, deterministic=not train)
        skip = nn.Dropout(self.stochastic_depth, broadcast_dims=(1, 2), deterministic=not train)

        normed = norm(name="norm_attention")(tokens)
        tokens += skip(drop(self.scaled(attention(normed, normed, angles), "scale_attention")))
        tokens += skip(drop(self.scaled(mlp(norm(name="norm_mlp")(tokens), train), "scale_mlp")))
        keep(self, "output", tokens)
        return tokens

    def scaled(self, found: Tokens, name: str) -> Tokens:
        """Returns `found`, each channel times its learned factor in architectures with layer scale."""
        if not self.architecture.layer_scale:
            return found
        start = nn.initializers.constant(self.architecture.layer_scale)
        scale = self.param(name, start, found.shape[-1:]).astype(self.dtype)
        return found * einops.rearrange(scale, "width -> 1 1 width")


class Encoder(nn.Module):
    """`size.depth` blocks and a last norm; the chance to skip a block rises linearly from 0 to `stochastic_depth`."""

    size: Size
    architecture: Architecture = Architecture()
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens, angles: Angles | None, train: bool) -> Tokens:
        """Returns tokens of the same shape."""
        size, made = self.size, self.architecture
        block = partial(Block, size.heads, size.mlp_hidden, made, self.dropout, dtype=self.dtype)
        for depth in range(size.depth):
            skip = self.stochastic_depth * depth / max(1, size.depth - 1)
            tokens = block(stochastic_depth=skip, name=f"block{depth:02}")(tokens, angles, train)
        if made.norm_last == "tokens":
            tokens = nn.LayerNorm(made.norm_epsilon, dtype=self.dtype, name="norm")(tokens)
        return tokens


class Vit(nn.Module):
    """Images to logits.

    Attributes:
      size: width, depth, heads, hidden size of the MLP, patch; the stem of a hybrid.
      classes: how many logits; 0 leaves the head out and returns the features.
      architecture: what is not a number: the tokens and their positions, what a block is made of, the pool.
      head_bias: what the head's bias starts from; its kernel starts from zero.
      dropout: after every dense layer but query, key and value, and after the positions (paper, appendix B.1).
      stochastic_depth: the chance to skip the last block; earlier ones less.
      dtype: what the layers compute in. Parameters, softmax, norm statistics and logits are float32 throughout.
    """

    size: Size
    classes: int
    architecture: Architecture = Architecture()
    head_bias: float = 0.0
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Makes the layers; only those that are called have parameters."""
        size, made = self.size, self.architecture
        norm = partial(nn.LayerNorm, made.norm_epsilon, dtype=self.dtype)
        if size.stem:
            self.stem = Stem(size.stem, made.standardization, made.stem_norm_epsilon, self.dtype)
        self.patch_embedding = nn.Conv(
            size.width, size.patch, size.patch, padding="VALID", use_bias=made.patch_bias, dtype=self.dtype
        )
        zeros = nn.initializers.zeros
        self.summaries = tuple(self.param(name, zeros, (1, size.width)) for name in made.summaries)
        if made.registers:
            self.registers = self.param("registers", nn.initializers.normal(0.02), (made.registers, size.width))
        self.add_positions = POSITIONS[made.positions](dtype=self.dtype, name="positions")
        self.drop = nn.Dropout(self.dropout)
        if made.norm_embedded:
            self.norm_embedded = norm()
        self.encoder = Encoder(size, made, self.dropout, self.stochastic_depth, self.dtype)
        self.pooled = POOLS[made.pool]
        if self.pooled is AttentionPool:
            self.pooled = AttentionPool(
                size.heads, size.mlp_hidden, made.activation, made.norm_epsilon, self.dtype, name="pool"
            )
        if made.norm_last == "features":
            self.norm_features = norm()
        self.hidden = nn.Dense(made.pre_logits, dtype=self.dtype, name="pre_logits")
        head = partial(nn.Dense, self.classes, kernel_init=zeros, bias_init=nn.initializers.constant(self.head_bias))
        self.head = head()
        if made.pool == "distilled":
            self.head_distillation = head()

    def __call__(self, images: Images, train: bool) -> Logits:
        """Returns a row of logits an image, or a token where the pool is "none"."""
        patches = self.embed(images)
        tokens = self.encode(self.in_line(patches), self.angles(patches), train)
        return self.read(tokens)

    def embed(self, images: Images) -> Patches:
        """Returns an embedding for each patch, of a hybrid's map too (paper, eq. 1, without the positions)."""
        features = divisible(images, self.size.stride)
        if self.size.stem:
            features = self.stem(features)
        return self.patch_embedding(features)

    def in_line(self, patches: Patches) -> Tokens:
        """Returns the tokens that stand first and the patches row by row, with their positions added."""

        def for_each_image(*tokens: jax.Array) -> Prefix:
            rows = jnp.concatenate([jnp.zeros((0, self.size.width)), *tokens]).astype(self.dtype)
            return einops.repeat(rows, "count width -> batch count width", batch=patches.shape[0])

        patches, prefix = self.add_positions(patches, for_each_image(*self.summaries))
        registers = for_each_image(self.registers) if self.architecture.registers else for_each_image()
        return in_line(jnp.concatenate([prefix, registers], axis=1), patches)

    def angles(self, patches: Patches) -> Angles | None:
        """Returns by how much the queries and keys of each token are turned, if they are."""
        made, (_, rows, columns, width) = self.architecture, patches.shape
        return rotary.angles(made.rotary, (rows, columns), made.prefix, width // self.size.heads)

    def encode(self, tokens: Tokens, angles: Angles | None, train: bool) -> Tokens:
        """Returns what the encoder makes of the tokens (paper, eq. 2 and 3, and the norm of eq. 4)."""
        tokens = self.drop(tokens, deterministic=not train)
        if self.architecture.norm_embedded:
            tokens = self.norm_embedded(tokens)
        keep(self, "embedded", tokens)
        return self.encoder(tokens, angles, train)

    def read(self, tokens: Tokens) -> Logits:
        """Returns the logits, or the features of a model without classes, in float32."""
        features = self.pooled(tokens, self.architecture.prefix)
        if self.architecture.norm_last == "features":
            features = self.norm_features(features)
        if self.architecture.pre_logits:
            features = nn.tanh(self.hidden(features))
        features = features.astype(jnp.float32)
        keep(self, "features", features)
        if not self.classes:
            return features
        if self.architecture.pool == "distilled":
            return (self.head(features[:, 0]) + self.head_distillation(features[:, 1])) / 2
        return self.head(features)


def divisible(images: Images, patch: tuple[int, int]) -> Images:
    """Returns `images`; raises UserError if patches of this (height, width) do not tile them."""
    height, width = images.shape[1:3]
    if height % patch[0] or width % patch[1]:
        raise UserError(
            f"image {height}x{width} does not divide into patches of {patch[0]}x{patch[1]}; "
            "resize it or choose another patch"
        )
    return images
