"""From the encoder's tokens to one feature vector an image."""

import einops
import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from vit_jax.models.attention import Attention
from vit_jax.models.mlp import Mlp
from vit_jax.shapes import Features, Prefix, Tokens, TwoFeatures


def first_token(tokens: Tokens, prefix: int) -> Features:
    """The class token (paper, eq. 4)."""
    return tokens[:, 0]


def first_two_tokens(tokens: Tokens, prefix: int) -> Prefix:
    """The class and the distillation token, each of which has a head (DeiT, arXiv 2012.12877, section 3)."""
    return tokens[:, :2]


def mean_of_patches(tokens: Tokens, prefix: int) -> Features:
    """The mean over the patches (paper, appendix D.3), the `prefix` of other tokens left out."""
    return tokens[:, prefix:].mean(axis=1)


def class_token_and_mean(tokens: Tokens, prefix: int) -> TwoFeatures:
    """The class token and the mean of the patches side by side, twice as wide (DINOv2, arXiv 2304.07193)."""
    return jnp.concatenate([first_token(tokens, prefix), mean_of_patches(tokens, prefix)], axis=-1)


def every_token(tokens: Tokens, prefix: int) -> Tokens:
    """No pooling: the head, if any, reads each token."""
    return tokens


class AttentionPool(nn.Module):
    """A learned probe attends to the patches, then an MLP with a residual: "MAP" (arXiv 2106.04560, section 3.3)."""

    heads: int
    mlp_hidden: int
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens, prefix: int) -> Features:
        """Returns the probe's features, the `prefix` of other tokens left out."""
        probe = self.param("probe", nn.initializers.xavier_uniform(), (1, tokens.shape[-1]))
        probe = einops.repeat(probe.astype(self.dtype), "one width -> batch one width", batch=tokens.shape[0])
        norm = nn.LayerNorm(self.norm_epsilon, dtype=self.dtype, name="norm")
        mlp = Mlp(self.mlp_hidden, self.activation, dtype=self.dtype, name="mlp")

        found = Attention(self.heads, dtype=self.dtype, name="attention")(probe, tokens[:, prefix:])
        found += mlp(norm(found), False)
        return found[:, 0]


POOLS = {
    "class_token": first_token,
    "class_token_and_mean": class_token_and_mean,
    "distilled": first_two_tokens,
    "mean": mean_of_patches,
    "map": AttentionPool,
    "none": every_token,
}
CLASS_TOKEN_POOLS = ("class_token", "class_token_and_mean", "distilled")
