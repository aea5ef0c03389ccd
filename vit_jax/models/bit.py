"""The ResNet that the paper compares itself with: BiT's (arXiv 1912.11370), pre-activated (arXiv 1603.05027)."""

from functools import partial

import einops
import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from vit_jax.models.intermediates import keep
from vit_jax.models.resnet import Layers, stages
from vit_jax.models.sizes import ResNetSize
from vit_jax.shapes import FeatureMap, Images, Logits, NextMap


class Unit(nn.Module):
    """A bottleneck of `width` channels, four times as many out: each convolution reads a normed and rectified map.

    A projection reads the normed map too. All padding is of zeros, as many on each side.
    """

    layers: Layers
    width: int
    stride: int
    projects: bool

    @nn.compact
    def __call__(self, features: FeatureMap) -> NextMap:
        """Returns a map of 4 x `width` channels, smaller by the stride."""
        conv, norm = partial(self.layers.conv, padding=0), self.layers.norm
        normed = nn.relu(norm("norm1")(features))
        found = conv(self.width, "conv1")(normed)
        found = conv(self.width, "conv2", side=3, stride=self.stride, padding=1)(nn.relu(norm("norm2")(found)))
        found = conv(4 * self.width, "conv3")(nn.relu(norm("norm3")(found)))
        if self.projects:
            features = conv(4 * self.width, "projection", stride=self.stride)(normed)
        features += found
        keep(self, "output", features)
        return features


class Bit(nn.Module):
    """Images to logits.

    Attributes:
      size: units a stage, and width.
      classes: how many logits; 0 leaves the head out and returns the features.
      head_bias: what the head's bias starts from; its kernel starts from zero.
      standardization: of the kernels, a name in resnet.STANDARDIZATIONS.
      norm_epsilon: added to the variance by every norm.
      dtype: what the layers compute in. Parameters, standardisation, norm statistics and logits are float32 throughout.
    """

    size: ResNetSize
    classes: int
    head_bias: float = 0.0
    standardization: str = "bit"
    norm_epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Images, train: bool) -> Logits:
        """Returns a row of logits an image, or of features of a model without classes; the same in training."""
        layers = Layers(self.standardization, self.norm_epsilon, self.dtype)
        features = layers.conv(self.size.width, "root", side=7, stride=2, padding=3)(images)
        features = jnp.pad(features, ((0, 0), (1, 1), (1, 1), (0, 0)))  # zeros, not the least number, as BiT has it
        features = nn.max_pool(features, (3, 3), (2, 2), "VALID")
        for stage in stages(self.size, partial(Unit, layers)):
            features = stage(features)
        features = nn.relu(layers.norm("norm")(features)).astype(jnp.float32)
        features = einops.reduce(features, "batch rows columns channels -> batch channels", "mean")
        keep(self, "features", features)
        if not self.classes:
            return features
        zeros, bias = nn.initializers.zeros, nn.initializers.constant(self.head_bias)
        return nn.Dense(self.classes, kernel_init=zeros, bias_init=bias, name="head")(features)
