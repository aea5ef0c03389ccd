"""Multi-head dot-product attention (paper, appendix A)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vit_jax.models.intermediates import keep
from vit_jax.models.rotary import turned
from vit_jax.shapes import Angles, AttentionWeights, Keys, KeyTokens, Queries, QueryTokens

# Which of query, key and value have a bias; a key's says nothing, since it moves all scores of a row alike.
BIASES = {"qkv": ("query", "key", "value"), "qv": ("query", "value"), "none": ()}


def attend(query: Queries, key: Keys, value: Keys) -> tuple[Queries, AttentionWeights]:
    """Returns each query's mean of the values, and the weights of that mean (float32, each row sums to 1).

    The softmax runs in float32 whatever the dtype of its inputs; weights that nobody uses are compiled away.
    """
    scale = query.shape[-1] ** -0.5
    scores = jnp.einsum("bqhd,bkhd->bhqk", query * scale, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores, axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value), weights


class Attention(nn.Module):
    """Attention from `queries` to `keys_and_values`: self-attention when they are the same tokens.

    Attributes:
      heads: among which the width is shared out.
      bias: a name in BIASES.
      qk_norm: whether queries and keys are normed, each head by itself.
      norm_epsilon: of those norms.
      rotary: a name in rotary.ROTARY, where angles are given.
      dtype: what the layers compute in.
    """

    heads: int
    bias: str = "qkv"
    qk_norm: bool = False
    norm_epsilon: float = 1e-6
    rotary: str = "none"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, queries: QueryTokens, keys_and_values: KeyTokens, angles: Angles | None = None) -> QueryTokens:
        """Returns tokens of the shape of `queries`, turned by `angles`; keeps its `weights` among the intermediates."""
        width = queries.shape[-1]
        dense = partial(nn.DenseGeneral, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())

        def project(tokens: QueryTokens | KeyTokens, name: str) -> Queries | Keys:
            return dense((self.heads, width // self.heads), use_bias=name in BIASES[self.bias], name=name)(tokens)

        query, key, value = (
            project(queries, "query"),
            project(keys_and_values, "key"),
            project(keys_and_values, "value"),
        )
        if self.qk_norm:
            norm = partial(nn.LayerNorm, self.norm_epsilon, dtype=self.dtype)
            query, key = norm(name="norm_query")(query), norm(name="norm_key")(key)
        if angles is not None:
            query, key = turned(query, angles, self.rotary), turned(key, angles, self.rotary)
        found, weights = attend(query, key, value)
        keep(self, "weights", weights)
        return dense(width, axis=(-2, -1), name="out")(found)
