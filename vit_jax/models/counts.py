"""How large a model is, without making it."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from vit_jax.shapes import PyTree


def shapes(model: nn.Module, image_size: tuple[int, int]) -> PyTree:
    """Returns the shapes and dtypes of the model's parameters for RGB images of `image_size` (height, width)."""
    images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    return jax.eval_shape(lambda images: model.init(jax.random.key(0), images, False)["params"], images)


def parameters(model: nn.Module, image_size: tuple[int, int]) -> int:
    """Returns how many parameters the model has."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(model, image_size)))
