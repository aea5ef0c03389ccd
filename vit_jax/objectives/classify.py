"""Classification: one label an image, or several, or none."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from vit_jax import models
from vit_jax.data import augment
from vit_jax.errors import UserError, pick
from vit_jax.shapes import Images, Labels, Logits, Losses, Parameters, Targets

LossByExample = Callable[[Logits, Targets], Losses]


def softmax_cross_entropy(logits: Logits, targets: Targets) -> Losses:
    """One class an image: the cross-entropy of the softmax."""
    return optax.softmax_cross_entropy(logits, targets)


def sigmoid_cross_entropy(logits: Logits, targets: Targets) -> Losses:
    """Each class a yes or no of its own: binary cross-entropies, summed over the classes (arXiv 2006.07159)."""
    return optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)


LOSSES: dict[str, LossByExample] = {"softmax": softmax_cross_entropy, "sigmoid": sigmoid_cross_entropy}

# What is wanted of an image with several labels, given 1 for each of them: a softmax has but 1 to share out.
SEVERAL: dict[str, Callable[[Targets], Targets]] = {
    "softmax": lambda given: given / jnp.maximum(given.sum(axis=-1, keepdims=True), 1.0),
    "sigmoid": lambda given: given,
}


def targets_of(labels: Labels, classes: int, loss: str) -> Targets:
    """Returns the target that labels make for a loss: 1 at the label; at each of several 1, or an even part of 1.

    `labels` are integers (batch,), or (batch, most) filled up with -1; without any, the target is 0 throughout.
    """
    if labels.ndim == 1:
        return jax.nn.one_hot(labels, classes)
    return SEVERAL[loss](jax.nn.one_hot(labels, classes).max(axis=1))


def are_hit(logits: Logits, batch: dict[str, jax.Array]) -> Losses:
    """Returns 1 where the likeliest class is the target's, or one that is `right` in a batch of several labels."""
    named = logits.argmax(axis=-1)
    if "right" not in batch:
        return (named == batch["target"].argmax(axis=-1)).astype(jnp.float32)
    return jnp.take_along_axis(batch["right"], named[:, None], axis=-1).squeeze(axis=-1).astype(jnp.float32)


static = partial(flax.struct.field, pytree_node=False)


@flax.struct.dataclass
class Classification:
    """Learns to name the class.

    Attributes:
      model: images to logits.
      mean, std: of the value range, by channel, where pixels lie in [0, 1].
      loss: which of `LOSSES`; "sigmoid" is the one for images with several labels, as they do not compete in it.
      label_smoothing: this share of the target is spread evenly over all classes (arXiv 1512.00567), but for images
        without a label, which have no target: to a sigmoid they say that no class is there, to a softmax nothing.
      mixup: strength of mixup; 0 for none.
      cutmix: strength of CutMix; 0 for none. With both, each step draws one of them, evenly.
    """

    names_classes: ClassVar[bool] = True

    model: nn.Module = static()
    mean: tuple[float, float, float] = static()
    std: tuple[float, float, float] = static()
    loss: str = static(default="softmax")
    label_smoothing: float = static(default=0.0)
    mixup: float = static(default=0.0)
    cutmix: float = static(default=0.0)

    def __post_init__(self):
        pick(LOSSES, self.loss, "loss")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing is a share, at least 0 and below 1; got {self.label_smoothing}")
        if min(self.mixup, self.cutmix) < 0:
            raise UserError(f"mixup and cutmix are at least 0; got {self.mixup} and {self.cutmix}")

    def initial(self, key: jax.Array, image_size: tuple[int, int]) -> Parameters:
        """Returns the model's parameters drawn from `key`."""
        return models.initial(self.model, key, image_size)

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Returns `image` as normalised floats and `target` as a share for each class.

        Of images that may have several labels also `right`, true for the classes with the largest share.
        """
        images = augment.normalize(batch["image"], self.mean, self.std)
        labels = batch["label"]
        targets = optax.smooth_labels(targets_of(labels, self.model.classes, self.loss), self.label_smoothing)
        if labels.ndim == 2:
            targets = jnp.where((labels >= 0).any(axis=-1, keepdims=True), targets, 0.0)
        images, targets = self.mixed(images, targets, key)
        prepared = {"image": images, "target": targets}
        if labels.ndim == 2:
            prepared["right"] = (targets == targets.max(axis=-1, keepdims=True)) & (targets > 0)
        return prepared

    def mixed(self, images: Images, targets: Targets, key: jax.Array) -> tuple[Images, Targets]:
        """Returns images and targets, each mixed with another of the batch as `mixup` and `cutmix` have it."""
        if self.mixup and self.cutmix:
            coin_key, key = jax.random.split(key)
            cut = augment.cutmix(images, targets, self.cutmix, key)
            blended = augment.mixup(images, targets, self.mixup, key)
            return jax.tree.map(partial(jnp.where, jax.random.bernoulli(coin_key)), cut, blended)
        if self.cutmix:
            return augment.cutmix(images, targets, self.cutmix, key)
        return augment.mixup(images, targets, self.mixup, key) if self.mixup else (images, targets)

    def losses(self, parameters: Parameters, batch: dict[str, jax.Array], key: jax.Array | None) -> dict[str, Losses]:
        """Returns the `loss`, and as `accuracy` 1 where the likeliest class is the target's, or one of several."""
        logits = models.apply(self.model, parameters, batch["image"], key)
        return {"loss": LOSSES[self.loss](logits, batch["target"]), "accuracy": are_hit(logits, batch)}
