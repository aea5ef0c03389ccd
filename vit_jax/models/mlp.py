"""The position-wise half of a block."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vit_jax.errors import pick
from vit_jax.shapes import Tokens

# Google's weights were trained with the tanh approximation, timm and Hugging Face run the exact one.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu_tanh": partial(nn.gelu, approximate=True),
    "gelu_exact": partial(nn.gelu, approximate=False),
}


class Mlp(nn.Module):
    """Two dense layers with an activation between them, the same at every token (paper, section 3.1)."""

    hidden: int
    activation: str = "gelu_tanh"
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens, train: bool) -> Tokens:
        """Returns tokens of the same shape."""
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
        hidden = dense(self.hidden, name="hidden")(tokens)
        hidden = pick(ACTIVATIONS, self.activation, "activation")(hidden)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        return dense(tokens.shape[-1], name="out")(hidden)
