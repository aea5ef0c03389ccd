"""What the hybrid's stem and BiT are both made of: standardised convolutions, group norms, stages of units."""

import dataclasses
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vit_jax.errors import pick
from vit_jax.models.sizes import GROUPS, ResNetSize
from vit_jax.shapes import ConvKernel, FeatureMap, NextMap


def by_deviation(kernel: ConvKernel, epsilon: float) -> ConvKernel:
    """Returns each filter less its mean, divided by its standard deviation plus `epsilon`."""
    over = (0, 1, 2)
    return (kernel - kernel.mean(over, keepdims=True)) / (kernel.std(over, keepdims=True) + epsilon)


def by_variance(kernel: ConvKernel, epsilon: float) -> ConvKernel:
    """Returns each filter less its mean, divided by the root of its variance plus `epsilon`."""
    over = (0, 1, 2)
    return (kernel - kernel.mean(over, keepdims=True)) / jnp.sqrt(kernel.var(over, keepdims=True) + epsilon)


# Families differ, and the small filters of a trained network feel it. google: the hybrids of
# google-research/vision_transformer; bit: google-research/big_transfer; timm: its ports of both.
STANDARDIZATIONS: dict[str, Callable[[ConvKernel], ConvKernel]] = {
    "google": partial(by_deviation, epsilon=1e-5),
    "bit": partial(by_variance, epsilon=1e-10),
    "timm": partial(by_variance, epsilon=1e-8),
}


class StandardizedConv(nn.Module):
    """A square convolution without bias whose kernel is standardised each time that it is used (arXiv 1903.10520).

    It is so in float32, whatever the convolution computes in.

    Attributes:
      features: channels out.
      side: of the kernel, in pixels.
      stride: pixels from one place to the next.
      padding: pixels of zeros on each of the four sides; None for TensorFlow's "SAME", which puts the odd one last.
      standardization: name in STANDARDIZATIONS.
      dtype: of the convolution.
    """

    features: int
    side: int = 1
    stride: int = 1
    padding: int | None = None
    standardization: str = "google"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: FeatureMap) -> NextMap:
        """Returns the map of `self.features` channels, smaller by the stride."""
        shape = (self.side, self.side, features.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        kernel = pick(STANDARDIZATIONS, self.standardization, "standardization")(kernel)
        padding = "SAME" if self.padding is None else [(self.padding, self.padding)] * 2
        axes = ("NHWC", "HWIO", "NHWC")
        strides = (self.stride, self.stride)
        features, kernel = features.astype(self.dtype), kernel.astype(self.dtype)
        return jax.lax.conv_general_dilated(features, kernel, strides, padding, dimension_numbers=axes)


@dataclasses.dataclass(frozen=True)
class Layers:
    """Makes the layers of one ResNet, which all compute alike; the fields are those of the models that have them."""

    standardization: str
    norm_epsilon: float
    dtype: DTypeLike

    def conv(self, features: int, name: str, side: int = 1, stride: int = 1, padding: int | None = None) -> nn.Module:
        """Returns a standardised convolution."""
        return StandardizedConv(features, side, stride, padding, self.standardization, self.dtype, name=name)

    def norm(self, name: str, scale_init: nn.initializers.Initializer = nn.initializers.ones) -> nn.Module:
        """Returns a norm over groups of channels, its statistics in float32."""
        return nn.GroupNorm(
            GROUPS,
            epsilon=self.norm_epsilon,
            dtype=self.dtype,
            scale_init=scale_init,
            use_fast_variance=False,
            name=name,
        )


class Stage(nn.Module):
    """`units` bottlenecks of one width; the first takes the stride, and projects since the channels change there."""

    unit: Callable[..., nn.Module]
    units: int
    width: int
    stride: int

    @nn.compact
    def __call__(self, features: FeatureMap) -> NextMap:
        """Returns a map of 4 x `width` channels, smaller by the stride."""
        features = self.unit(self.width, self.stride, True, name="unit01")(features)
        for number in range(2, self.units + 1):
            features = self.unit(self.width, 1, False, name=f"unit{number:02}")(features)
        return features


def stages(size: ResNetSize, unit: Callable[..., nn.Module]) -> list[Stage]:
    """Returns the stages, each but the first with half the map of the one before and twice the width.

    `unit` is what makes a unit from its width, its stride and whether it projects.
    """
    return [
        Stage(unit, units, size.width * 2**number, 2 if number else 1, name=f"stage{number + 1}")
        for number, units in enumerate(size.units)
    ]
