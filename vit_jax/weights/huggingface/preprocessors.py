"""How an image is cut to size: between transformers' preprocessor_config.json and our recipes."""

from collections.abc import Mapping
from typing import Any

from vit_jax.errors import UserError, pick
from vit_jax.weights.recipe import Recipe

RESAMPLES = {2: "bilinear", 3: "bicubic"}  # PIL.Image.Resampling
CODES = {name: code for code, name in RESAMPLES.items()}


def read(given: Mapping[str, Any], published: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the recipe's "mean", "std" and "preprocess".

    Args:
      given: the file, empty where there is none.
      published: the family's own, for the keys that are missing.

    Raises:
      UserError: a resampling that is not known here, or sizes that are none.
    """
    asked = {**published, **given}
    try:
        # transformers takes mean and std from pixel * rescale_factor, we take them from pixel / 255.
        scale = 255 * (asked.get("rescale_factor", 1 / 255) if asked.get("do_rescale", True) else 1)
        normalised = asked.get("do_normalize", True)
        mean, std = (asked["image_mean"], asked["image_std"]) if normalised else ((0.0,) * 3, (1.0,) * 3)
        size, edge = asked["size"], _edge(asked["size"])
        keeps_ratio = "shortest_edge" in (size if isinstance(size, Mapping) else published["size"])
        kept = _edge(asked["crop_size"]) / edge if asked.get("do_center_crop") else 1.0
        preprocess = {
            "kind": "resize_crop" if keeps_ratio or "crop_pct" in asked else "squash",
            "crop_ratio": asked.get("crop_pct") or kept,
            "resample": RESAMPLES[asked["resample"]],
        }
        return {
            "mean": tuple(value / scale for value in mean),
            "std": tuple(value / scale for value in std),
            "preprocess": preprocess,
        }
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise UserError(
            f"preprocessor_config.json is not understood ({type(error).__name__}: {error}); wanted a size, and a "
            f"resample in {', '.join(map(str, RESAMPLES))} ({', '.join(CODES)})"
        ) from None


def _edge(size: Any) -> Any:
    """Returns the one edge of a size: a number in old files, else by name."""
    return size if not isinstance(size, Mapping) else size["shortest_edge" if "shortest_edge" in size else "height"]


def written(recipe: Recipe, published: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the file that tells transformers what `recipe` says, for the image processor of the family.

    Raises:
      UserError: a preprocess for which no image processor has words.
    """
    options = recipe.cut()
    if options["kind"] not in ("squash", "resize_crop"):
        raise UserError(f'transformers cuts no images by "{options["kind"]}"; write "squash" or "resize_crop" there')
    height, width = (round(side / options["crop_ratio"]) for side in recipe.image_size)
    squashed = options["kind"] == "squash"
    crops = options["crop_ratio"] < 1 or not squashed
    crop = dict(zip(("height", "width"), recipe.image_size, strict=True))
    return {
        "image_processor_type": published["image_processor_type"],
        "do_resize": True,
        "size": {"height": height, "width": width} if squashed else {"shortest_edge": min(height, width)},
        "resample": pick(CODES, options["resample"], "resample"),
        "do_center_crop": crops,
        **({"crop_size": crop} if crops else {}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(recipe.mean),
        "image_std": list(recipe.std),
    }
