"""The position-wise half of a block."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vit_jax.errors import pick
from vit_jax.shapes import Tokens

# Google's weights were trained with the tanh approximation, timm and Hugging Face run the exact one, OpenAI's CLIP its
# own.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu_tanh": partial(nn.gelu, approximate=True),
    "gelu_exact": partial(nn.gelu, approximate=False),
    "gelu_quick": lambda x: x * nn.sigmoid(1.702 * x),
    "silu": nn.silu,
}

# What the mlp of an architecture has beside two dense layers. SwiGLU: arXiv 2002.05202.
MLPS = {"dense": {}, "swiglu": {"gated": True}, "swiglu_norm": {"gated": True, "normed": True}}


class Mlp(nn.Module):
    """Two dense layers with an activation between them, the same at every token (paper, section 3.1).

    Attributes:
      hidden: width between the layers.
      activation: a name in ACTIVATIONS.
      gated: whether the activation of a third layer, the gate, multiplies the first layer instead.
      normed: whether a norm comes before the last layer.
      norm_epsilon: of that norm.
      dropout: before the last layer.
      dtype: what the layers compute in.
    """

    hidden: int
    activation: str = "gelu_tanh"
    gated: bool = False
    normed: bool = False
    norm_epsilon: float = 1e-6
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens, train: bool) -> Tokens:
        """Returns tokens of the same shape."""
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
        act = pick(ACTIVATIONS, self.activation, "activation")
        hidden = dense(self.hidden, name="hidden")(tokens)
        hidden = act(dense(self.hidden, name="gate")(tokens)) * hidden if self.gated else act(hidden)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        if self.normed:
            hidden = nn.LayerNorm(self.norm_epsilon, dtype=self.dtype, name="norm")(hidden)
        return dense(tokens.shape[-1], name="out")(hidden)
