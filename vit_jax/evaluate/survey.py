"""What a model looks like inside, over many images: the numbers and arrays of the paper's figures 6, 7, 11 and 14."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from vit_jax import models, parallel
from vit_jax.data import augment
from vit_jax.errors import UserError
from vit_jax.evaluate import inspect
from vit_jax.models.positions import sincos2d
from vit_jax.models.resnet import STANDARDIZATIONS
from vit_jax.shapes import Parameters

FILTERS = 28  # as many as the paper shows
# Where the kernel lies that reads an image: of a ResNet, of a ResNet below an encoder, of patches.
KERNELS = ("root/kernel", "stem/root/kernel", "patch_embedding/kernel")

OVER_IMAGES = {"mean": np.mean, "largest": np.max, "class_token": np.mean}


@dataclasses.dataclass(frozen=True)
class Attended:
    """What follows from attention.

    Attributes:
      grid: (rows, columns) of patches.
      patch: (height, width) in pixels from one patch to the next.
      distances: mean attention distance in pixels, (blocks, heads).
      uniform: the distance of a head that attends to all patches alike.
      maps: how much of each patch reaches the head, for each image that is shown: (shown, rows, columns), sum 1.
      similarity: of the positions, (rows, columns, rows, columns); None where none are added to the patches.
      positions: how the model knows where a patch lies: "learned", "sincos2d", "rotary" or "none".
    """

    grid: tuple[int, int]
    patch: tuple[float, float]
    distances: np.ndarray
    uniform: float
    maps: np.ndarray
    similarity: np.ndarray | None
    positions: str


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was found in a model, and with it in `images` images.

    Attributes:
      images: how many were looked at.
      image_size: (height, width) in pixels.
      filters: principal components of the first kernel in [0, 1], 0.5 for no weight: (count, height, width, 3), or
        (…, 1), the channels summed, where all images were grey.
      kernel: where that kernel lies among the parameters.
      norms: for each layer the "mean" and the "largest" norm of a patch of any image, and the mean norm of the
        "class_token", if there is one.
      shown: some of the images as the model sees them, uint8 (shown, height, width, 3).
      attended: None where nothing attends.
    """

    images: int
    image_size: tuple[int, int]
    filters: np.ndarray
    kernel: str
    norms: dict[str, dict[str, float]]
    shown: np.ndarray
    attended: Attended | None


def survey(
    model: nn.Module,
    parameters: Parameters,
    mesh: Mesh,
    mean: Sequence[float],
    std: Sequence[float],
    batches: Iterable[Mapping[str, np.ndarray]],
    show: Sequence[int],
) -> Survey:
    """Returns what is found in a model and in the uint8 images of `batches`; only a batch is in memory at a time.

    Args:
      model: images to logits, with `parameters` on the mesh.
      mesh: where batches are split.
      mean, std: of the value range, by channel, where pixels lie in [0, 1].
      batches: of `image`, `mask` (0 for padding) and `index` (of an image among all).
      show: indices of the images to be shown.

    Raises:
      UserError: the model has diverged.
    """

    def look(parameters: Parameters, images: jax.Array) -> dict[str, Any]:
        kept = inspect.intermediates(model, parameters, augment.normalize(images, mean, std))
        grid = inspect.grid_of(kept)
        norms = {
            name: inspect.token_norms(
                tokens, grid[0] * grid[1] if grid else tokens.shape[1], "class_token" in parameters
            )
            for name, tokens in inspect.layer_outputs(kept).items()
        }
        if not grid:
            return {"norms": norms}
        patch = _patch(images.shape[1:3], grid)
        distances = [inspect.attention_distance(block, grid, patch) for block in inspect.attention_weights(kept)]
        maps = inspect.attention_map(kept, models.option(model, "pool"))
        return {"norms": norms, "distances": jnp.stack(distances, axis=1), "maps": maps}

    looked = jax.jit(look)
    rows: list[dict[str, Any]] = []
    for batch in batches:
        placed = parallel.place_batch(mesh, {"image": batch["image"]})["image"]
        real = batch["mask"] > 0
        images, index = batch["image"][real], batch["index"][real]
        found = jax.tree.map(lambda values, real=real: values[real], jax.device_get(looked(parameters, placed)))
        chosen = np.isin(index, show)
        if "maps" in found:
            found["maps"] = found["maps"][chosen]
        rows.append(found | {"shown": images[chosen], "grey": (images == images[..., :1]).all(axis=(1, 2, 3))})
    every = jax.tree.map(lambda *parts: np.concatenate(parts), *rows)
    if not all(np.isfinite(norms).all() for norms in jax.tree.leaves(every["norms"])):
        raise UserError("this model's tokens are not finite numbers: it diverged in training; take another checkpoint")

    kernel_path, kernel = first_kernel(model, parameters)
    if every["grey"].all():  # only the sum over the channels is ever seen; the rest is what chance began with
        kernel = kernel.sum(axis=2, keepdims=True)
    # Centred filters have one component less than there are filters.
    components = max(1, min(FILTERS, kernel[..., 0].size, kernel.shape[-1] - 1))
    height, width = every["shown"].shape[1:3]
    return Survey(
        images=len(every["grey"]),
        image_size=(height, width),
        filters=np.asarray(inspect.patch_filters(kernel, components)),
        kernel=kernel_path,
        norms={
            layer: {of: float(OVER_IMAGES[of](values)) for of, values in norms.items()}
            for layer, norms in every["norms"].items()
        },
        shown=every["shown"],
        attended=_attended(model, parameters, (height, width), every) if "maps" in every else None,
    )


def first_kernel(model: nn.Module, parameters: Parameters) -> tuple[str, jax.Array]:
    """Returns the path and the array (height, width, channels, filters) of the kernel that reads an image, as it does.

    The root of a ResNet is standardised each time that it is used, so it is here.
    """
    flat = flatten_dict(parameters, sep="/")
    path = next(path for path in KERNELS if path in flat)
    kernel = jnp.asarray(flat[path], jnp.float32)
    if path.endswith("root/kernel"):
        kernel = STANDARDIZATIONS[models.option(model, "standardization")](kernel)
    return path, kernel


def _attended(
    model: nn.Module, parameters: Parameters, image_size: tuple[int, int], every: Mapping[str, np.ndarray]
) -> Attended:
    rows, columns = every["maps"].shape[1:]
    patch = _patch(image_size, (rows, columns))
    alike = jnp.full((1, 1, rows * columns, rows * columns), 1 / (rows * columns))
    grid, positions = parameters.get("positions", {}).get("grid"), models.option(model, "positions")
    if positions == "sincos2d":
        grid = sincos2d(rows, columns, parameters["patch_embedding"]["kernel"].shape[-1])
    if positions == "none" and models.option(model, "rotary") != "none":
        positions = "rotary"
    return Attended(
        grid=(rows, columns),
        patch=patch,
        distances=every["distances"].mean(axis=0),
        uniform=float(inspect.attention_distance(alike, (rows, columns), patch)[0, 0]),
        maps=every["maps"],
        similarity=None if grid is None else np.asarray(inspect.position_similarity(jnp.asarray(grid))),
        positions=positions.removesuffix("_patches"),
    )


def _patch(image_size: Sequence[int], grid: tuple[int, int]) -> tuple[float, float]:
    return image_size[0] / grid[0], image_size[1] / grid[1]
