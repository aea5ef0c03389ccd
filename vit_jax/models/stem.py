"""The ResNet below a hybrid's Transformer, norms and activations after the convolutions (paper, sections 3.1, 4.1)."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from vit_jax.models.intermediates import keep
from vit_jax.models.resnet import Layers, stages
from vit_jax.models.sizes import ResNetSize
from vit_jax.shapes import FeatureMap, Images, NextMap


class Unit(nn.Module):
    """A bottleneck of `width` channels, four times as many out; it adds nothing until the last norm's scale moves."""

    layers: Layers
    width: int
    stride: int
    projects: bool

    @nn.compact
    def __call__(self, features: FeatureMap) -> NextMap:
        """Returns a map of 4 x `width` channels, smaller by the stride."""
        conv, norm = self.layers.conv, self.layers.norm
        found = nn.relu(norm("norm1")(conv(self.width, "conv1")(features)))
        found = nn.relu(norm("norm2")(conv(self.width, "conv2", side=3, stride=self.stride)(found)))
        found = norm("norm3", scale_init=nn.initializers.zeros)(conv(4 * self.width, "conv3")(found))
        if self.projects:
            features = conv(4 * self.width, "projection", stride=self.stride)(features)
            features = norm("projection_norm")(features)
        features = nn.relu(features + found)
        keep(self, "output", features)
        return features


class Stem(nn.Module):
    """Images to a map of features, `size.stride` pixels from one place to the next; all padding is "SAME".

    Attributes:
      size: units a stage, and width.
      standardization: of the kernels, a name in resnet.STANDARDIZATIONS.
      norm_epsilon: added to the variance by every norm.
      dtype: what the layers compute in. Parameters, standardisation and norm statistics are float32 throughout.
    """

    size: ResNetSize
    standardization: str = "google"
    norm_epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Images) -> FeatureMap:
        """Returns the last stage's map, or the root's where there is no stage, as in R+Ti/16."""
        layers = Layers(self.standardization, self.norm_epsilon, self.dtype)
        features = layers.conv(self.size.width, "root", side=7, stride=2)(images)
        features = nn.relu(layers.norm("root_norm")(features))
        features = nn.max_pool(features, (3, 3), (2, 2), "SAME")
        for stage in stages(self.size, partial(Unit, layers)):
            features = stage(features)
        return features
