"""What a reader of published weights hands over."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from vit_jax.models.sizes import ResNetSize, Size, numbers_of
from vit_jax.shapes import Parameters
from vit_jax.weights.rename import Arrays, refuse


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Weights in our layout, and what their file and their family say about the model that they belong to.

    Attributes:
      parameters: nested dict of float32 arrays on the host.
      size: read off the arrays.
      classes: how many the head tells apart.
      options: of `models.build`, the rest of them: what the arrays tell, and what the family computes with.
      image_size: (height, width) in pixels that the model saw last.
      zeroed_head: the head was published as zeros: good for fine-tuning, says nothing about an image.
      mean: of each channel, taken from pixel / 255.
      std: of each channel, divided by after that.
      position_resize: name of the kernel in models.positions.RESIZE that the family resizes its positions with.
    """

    parameters: Parameters
    size: Size | ResNetSize
    classes: int
    options: Mapping[str, Any]
    image_size: tuple[int, int]
    zeroed_head: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    position_resize: str

    def model_options(self) -> dict[str, Any]:
        """Returns the options of `models.build` that make the model of these weights, as plain JSON values."""
        return {"size": numbers_of(self.size), "classes": self.classes, **self.options}


def refuse_other_kinds(arrays: Arrays) -> None:
    """Raises UserError if some of the arrays are not floats."""
    odd = [f"{name} {array.dtype}" for name, array in arrays.items() if array.dtype.kind != "f"]
    refuse("weights are arrays of floats", {"of another kind": odd}, "Choose a checkpoint saved as float32.")


def is_zeroed(head: np.ndarray) -> bool:
    """Returns whether this kernel of a head is all zeros, and says so in the log."""
    zeroed = not head.any()
    if zeroed:
        logging.getLogger(__name__).warning("the head of this checkpoint is all zeros: fine-tune it before predicting")
    return zeroed
