"""What makes one family of Vision Transformers another: the choices beside the numbers of a size."""

import dataclasses

from vit_jax.errors import UserError, pick
from vit_jax.models.attention import BIASES
from vit_jax.models.heads import CLASS_TOKEN_POOLS, POOLS
from vit_jax.models.mlp import ACTIVATIONS, MLPS
from vit_jax.models.positions import POSITIONS
from vit_jax.models.resnet import STANDARDIZATIONS
from vit_jax.models.rotary import ROTARY

WORDS = {
    "pool": POOLS,
    "positions": POSITIONS,
    "rotary": ROTARY,
    "norm_last": ("tokens", "features", "none"),
    "activation": ACTIVATIONS,
    "mlp": MLPS,
    "attention_bias": BIASES,
    "standardization": STANDARDIZATIONS,
}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Everything about a Vision Transformer that is not a number of its `Size`; as it stands, the paper's.

    Attributes:
      pool: "class_token" (the paper's), "mean" of the patches, "class_token_and_mean" side by side, "map" (attention
        pooling), "distilled" (two heads, one for each of two tokens) or "none".
      class_token: whether there is one; None: where `pool` reads it.
      distillation_token: whether a second one follows it (DeiT, arXiv 2012.12877).
      registers: how many tokens of no meaning stand before the patches (arXiv 2309.16588).
      positions: "learned" (the paper's; registers have none), "learned_patches" (nor have the class tokens), "sincos2d"
        or "none".
      rotary: how queries and keys are turned by where their patch lies: "eva02", "dinov3" or "none".
      patch_bias: whether the patch embedding has a bias.
      norm_embedded: whether a norm comes before the first block (CLIP).
      norm_last: what the last norm reads: the encoder's "tokens", the "features" that were pooled from them, or "none".
      pre_logits: width of a dense layer with tanh before the head (paper, section 3.1: in pre-training); 0 for none.
      activation: "gelu_tanh", "gelu_exact", "gelu_quick" or "silu".
      norm_epsilon: added to the variance by every norm.
      mlp: "dense", "swiglu", or "swiglu_norm" (EVA-02: a norm before its last layer).
      layer_scale: what each block's learned factors, a channel each, start from (arXiv 2103.17239); 0 for none.
      attention_bias: which of query, key and value have a bias: "qkv", "qv" or "none".
      qk_norm: whether queries and keys are normed, each head by itself (arXiv 2302.05442).
      standardization: of the kernels of a hybrid's stem, a name in resnet.STANDARDIZATIONS.
      stem_norm_epsilon: added to the variance by every norm of a hybrid's stem.

    Raises:
      UserError: a word that is not as above, or tokens that contradict each other.
    """

    pool: str = "class_token"
    class_token: bool | None = None
    distillation_token: bool = False
    registers: int = 0
    positions: str = "learned"
    rotary: str = "none"
    patch_bias: bool = True
    norm_embedded: bool = False
    norm_last: str = "tokens"
    pre_logits: int = 0
    activation: str = "gelu_tanh"
    norm_epsilon: float = 1e-6
    mlp: str = "dense"
    layer_scale: float = 0.0
    attention_bias: str = "qkv"
    qk_norm: bool = False
    standardization: str = "google"
    stem_norm_epsilon: float = 1e-6

    def __post_init__(self):
        for name, words in WORDS.items():
            pick(dict.fromkeys(words), getattr(self, name), name)
        if self.registers < 0:
            raise UserError(f"registers is at least 0; got {self.registers}")
        if self.pool in CLASS_TOKEN_POOLS and self.class_token is False:
            raise UserError(f'pool "{self.pool}" reads a class token, and class_token is False; leave class_token out')
        if self.pool == "distilled" and not self.distillation_token:
            raise UserError('pool "distilled" reads a distillation token; set distillation_token=True')

    @property
    def summaries(self) -> tuple[str, ...]:
        """The names of the learned tokens that stand first, and may be read by a head."""
        has_class = self.pool in CLASS_TOKEN_POOLS if self.class_token is None else self.class_token
        return ("class_token",) * has_class + ("distillation_token",) * self.distillation_token

    @property
    def prefix(self) -> int:
        """How many tokens stand before the patches'."""
        return len(self.summaries) + self.registers
