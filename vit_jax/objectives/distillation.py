"""Distillation: a student learns what a teacher says of the very image that it sees (arXiv 1503.02531, 2106.05237)."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from vit_jax import models
from vit_jax.data import augment
from vit_jax.errors import UserError, pick
from vit_jax.objectives.classify import Classification, are_hit, softmax_cross_entropy, static
from vit_jax.shapes import Logits, Losses, Parameters, PyTree


@flax.struct.dataclass
class Teacher:
    """A trained classifier that learns no more; its arrays are leaves, so that a jitted step takes them as arguments.

    `mean` and `std` are of its own value range.
    """

    parameters: PyTree
    model: nn.Module = static()
    mean: tuple[float, float, float] = static()
    std: tuple[float, float, float] = static()


def soft(student: Logits, teacher: Logits, temperature: float) -> Losses:
    """Returns the divergence KL(teacher || student) of the softmaxes of logits over `temperature`.

    Times the temperature squared, which keeps the gradient's size (arXiv 1503.02531, section 2.1).
    """
    wanted = jax.nn.log_softmax(teacher / temperature)
    found = jax.nn.log_softmax(student / temperature)
    return temperature**2 * (jnp.exp(wanted) * (wanted - found)).sum(axis=-1)


def hard(student: Logits, teacher: Logits, temperature: float) -> Losses:
    """Returns the cross-entropy with the teacher's likeliest class (arXiv 2012.12877, section 4)."""
    del temperature
    return softmax_cross_entropy(student, jax.nn.one_hot(teacher.argmax(axis=-1), teacher.shape[-1]))


DECISIONS: dict[str, Callable[[Logits, Logits, float], Losses]] = {"soft": soft, "hard": hard}


@flax.struct.dataclass
class Distillation:
    """Learns to answer as the teacher does: the same crop and the same mixup of images for both.

    Attributes:
      model: the student, images to logits.
      mean, std: of the student's value range, by channel, where pixels lie in [0, 1].
      teacher: it sees the student's images in its own value range, and without dropout.
      temperature: logits are divided by it; 1 in most of 2106.05237.
      decision: which of `DECISIONS` the student is to follow.
      label_share: share of the loss that is the labels' own cross-entropy: 0 in 2106.05237, 0.5 in DeiT.
      mixup, cutmix: strengths, as of classification; 0 for none.
      loss: how logits become probabilities.
    """

    names_classes: ClassVar[bool] = True

    model: nn.Module = static()
    mean: tuple[float, float, float] = static()
    std: tuple[float, float, float] = static()
    teacher: Teacher = flax.struct.field(kw_only=True)
    temperature: float = static(default=1.0)
    decision: str = static(default="soft")
    label_share: float = static(default=0.0)
    mixup: float = static(default=0.0)
    cutmix: float = static(default=0.0)

    loss: ClassVar[str] = "softmax"

    def __post_init__(self):
        pick(DECISIONS, self.decision, "decision")
        if self.temperature <= 0 or (self.decision == "hard" and self.temperature != 1):
            raise UserError(f"objective.temperature is above 0, and 1 for hard decisions; got {self.temperature}")
        if not 0 <= self.label_share < 1:
            raise UserError(f"objective.label_share is a share, at least 0 and below 1; got {self.label_share}")

    def initial(self, key: jax.Array, image_size: tuple[int, int]) -> Parameters:
        """Returns the student's parameters drawn from `key`."""
        return models.initial(self.model, key, image_size)

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Returns what classification does: `image` as normalised floats, `target` as a share for each class."""
        return Classification(self.model, self.mean, self.std, mixup=self.mixup, cutmix=self.cutmix).prepare(batch, key)

    def losses(self, parameters: Parameters, batch: dict[str, jax.Array], key: jax.Array | None) -> dict[str, Losses]:
        """Returns the `loss`; 1 where the student's class is the label's (`accuracy`), the teacher's (`agreement`)."""
        teacher = self.teacher
        image = augment.renormalize(batch["image"], (self.mean, self.std), (teacher.mean, teacher.std))
        wanted = jax.lax.stop_gradient(models.apply(teacher.model, teacher.parameters, image))
        logits = models.apply(self.model, parameters, batch["image"], key)
        by_teacher = DECISIONS[self.decision](logits, wanted, self.temperature)
        by_label = softmax_cross_entropy(logits, batch["target"])
        return {
            "loss": (1 - self.label_share) * by_teacher + self.label_share * by_label,
            "accuracy": are_hit(logits, batch),
            "agreement": (logits.argmax(axis=-1) == wanted.argmax(axis=-1)).astype(jnp.float32),
        }
