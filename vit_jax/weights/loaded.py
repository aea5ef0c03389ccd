"""What a reader of published weights hands over."""

import dataclasses
from typing import Any

from vit_jax.models.sizes import Size
from vit_jax.shapes import Parameters


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Weights in our layout, and what their file and their family say about the model that they belong to.

    Attributes:
      parameters: nested dict of float32 arrays on the host.
      size: read off the arrays.
      grid: (rows, columns) of patches that the positions were learned on.
      classes: how many the head tells apart.
      pool: "class_token" or "mean".
      pre_logits: width of the layer before the head, 0 for none.
      zeroed_head: the head was published as zeros: good for fine-tuning, says nothing about an image.
      activation: of the MLPs.
      norm_epsilon: of every norm.
      mean: of each channel, taken from pixel / 255.
      std: of each channel, divided by after that.
      position_resize: name of the kernel in models.positions.RESIZE that the family resizes its positions with.
    """

    parameters: Parameters
    size: Size
    grid: tuple[int, int]
    classes: int
    pool: str
    pre_logits: int
    zeroed_head: bool
    activation: str
    norm_epsilon: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    position_resize: str

    def model_options(self) -> dict[str, Any]:
        """Returns the options of `models.build` that make the model of these weights, as plain JSON values."""
        return {
            "size": {**dataclasses.asdict(self.size), "patch": list(self.size.patch)},
            "classes": self.classes,
            "pool": self.pool,
            "positions": "learned",
            "pre_logits": self.pre_logits,
            "activation": self.activation,
            "norm_epsilon": self.norm_epsilon,
        }
