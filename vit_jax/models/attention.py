"""Multi-head dot-product attention (paper, appendix A)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vit_jax.models.intermediates import keep
from vit_jax.shapes import AttentionWeights, Keys, KeyTokens, Queries, QueryTokens


def attend(query: Queries, key: Keys, value: Keys) -> tuple[Queries, AttentionWeights]:
    """Returns each query's mean of the values, and the weights of that mean (float32, each row sums to 1).

    The softmax runs in float32 whatever the dtype of its inputs; weights that nobody uses are compiled away.
    """
    scale = query.shape[-1] ** -0.5
    scores = jnp.einsum("bqhd,bkhd->bhqk", query * scale, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores, axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value), weights


class Attention(nn.Module):
    """Attention from `queries` to `keys_and_values`: self-attention when they are the same tokens."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, queries: QueryTokens, keys_and_values: KeyTokens) -> QueryTokens:
        """Returns tokens of the shape of `queries`; keeps its `weights` among the intermediates."""
        width = queries.shape[-1]
        dense = partial(nn.DenseGeneral, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
        project = partial(dense, (self.heads, width // self.heads))
        query = project(name="query")(queries)
        key = project(name="key")(keys_and_values)
        value = project(name="value")(keys_and_values)
        found, weights = attend(query, key, value)
        keep(self, "weights", weights)
        return dense(width, axis=(-2, -1), name="out")(found)
