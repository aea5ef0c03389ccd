"""What a run learns: values handed to the one training loop."""

from typing import Any, ClassVar, Protocol, runtime_checkable

import flax.linen as nn
import jax

from vit_jax.errors import construct, pick
from vit_jax.objectives.classify import Classification
from vit_jax.objectives.distillation import Distillation
from vit_jax.objectives.masked_autoencoder import MaskedAutoencoder
from vit_jax.objectives.masked_patches import MaskedPatches
from vit_jax.shapes import Losses, Parameters


@runtime_checkable
class Objective(Protocol):
    """Turns a batch into losses; a pytree, so that a jitted step takes it, and arrays that it may hold, as an argument.

    Attributes:
      names_classes: whether the model has a head for the data's classes; without, it is fine-tuned before use.
      model: what is trained, and used afterwards.
      mean, std: of the value range, by channel, where pixels lie in [0, 1].
      loss: name in `classify.LOSSES`, which tells how logits become probabilities; "" where the model names no class.
    """

    names_classes: ClassVar[bool]

    model: nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    loss: str

    def initial(self, key: jax.Array, image_size: tuple[int, int]) -> Parameters:
        """Returns what is learned: the parameters of `model`, under "model" where the objective has more of its own."""
        ...

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Returns the whole batch as the model is to see it: floats, normalised, augmented or corrupted."""
        ...

    def losses(self, parameters: Parameters, batch: dict[str, jax.Array], key: jax.Array | None) -> dict[str, Losses]:
        """Returns a `loss` for each image of a prepared batch, or of a part of it, and what else is logged.

        With a key as in training, where dropout draws from it.
        """
        ...


KINDS: dict[str, Any] = {
    "classification": Classification,
    "distillation": Distillation,
    "masked_autoencoder": MaskedAutoencoder,
    "masked_patches": MaskedPatches,
}


def names_classes(kind: str, **options: Any) -> bool:
    """Says whether the model that learns by the objective of a config has a head for the data's classes."""
    return pick(KINDS, kind, "objective").names_classes


def build(
    model: nn.Module, mean: tuple[float, float, float], std: tuple[float, float, float], kind: str, **options: Any
) -> Objective:
    """Returns the objective that a config names; raises UserError for a kind or an option that there is not."""
    return construct(pick(KINDS, kind, "objective"), f'objective "{kind}"', model, mean, std, **options)


def of_the_model(parameters: Parameters) -> Parameters:
    """Returns, of all that an objective learned, the parameters of its model."""
    return parameters.get("model", parameters)
