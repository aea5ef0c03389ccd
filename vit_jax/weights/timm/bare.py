"""Files that have timm's names, or nearly, and no config: facebookresearch's of DeiT, DINO, DINOv2 and MAE."""

import re
from typing import Any

import numpy as np

from vit_jax.errors import UserError
from vit_jax.weights import facts, positions
from vit_jax.weights.rename import Arrays, shortened, to_ours
from vit_jax.weights.timm import architectures, rows
from vit_jax.weights.timm.architectures import Model
from vit_jax.weights.timm.config import TOLD

FIRST_BLOCK = r"(|.*\.)blocks\.0\.(?:0\.)?norm1\.weight"  # and what stands before every name of the encoder

# DINOv2 counts its blocks through whatever chunk they lie in, and names the two layers of a SwiGLU as its paper does.
RENAMED = (
    (r"blocks\.\d+\.(\d+)\.", r"blocks.\1."),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
    (r"^register_tokens$", "reg_token"),
)
OF_PRETRAINING = r"mask_token|decoder_.*"  # what no encoder is made of
MAE = "decoder_pred.weight"


def recognises(arrays: Arrays) -> bool:
    """Returns whether some of the names are those of a Vision Transformer of timm's."""
    prefix = _prefix(arrays)
    return prefix is not None and f"{prefix}patch_embed.proj.weight" in arrays


def _prefix(arrays: Arrays) -> str | None:
    return next((found[1] for name in sorted(arrays) if (found := re.fullmatch(FIRST_BLOCK, name))), None)


def aside(arrays: Arrays) -> list[str]:
    """Returns the names, sorted, of what is there beside an encoder: heads and decoders of pre-training."""
    prefix = _prefix(arrays) or ""
    unread = rf"(?!{re.escape(prefix)}).*|{re.escape(prefix)}(?:{OF_PRETRAINING})"
    return sorted(name for name in arrays if re.fullmatch(unread, name))


def plain(arrays: Arrays) -> dict[str, np.ndarray]:
    """Returns the arrays of the encoder under timm's names, as timm itself reads such files.

    The class token of DINOv2 with registers takes its position up, so that only patches have one.
    """
    prefix, unread = _prefix(arrays) or "", set(aside(arrays))
    found = {}
    for name, array in arrays.items():
        if name not in unread:
            renamed = name.removeprefix(prefix)
            for pattern, replacement in RENAMED:
                renamed = re.sub(pattern, replacement, renamed)
            found[renamed] = array
    if f"{prefix}register_tokens" in arrays and "cls_token" in found and "pos_embed" in found:
        found["cls_token"] = found["cls_token"] + found["pos_embed"][:, :1]
        found["pos_embed"] = found["pos_embed"][:, 1:]
    return found


def config(file_arrays: Arrays, place: str) -> dict[str, Any]:
    """Returns the config that belongs to a file without one, where its arrays decide it: those of one set of published
    weights alone, or of several that compute alike and see images alike; then the license is not known.

    Raises:
      UserError: none have such arrays, or several that differ.
    """
    arrays = plain(file_arrays)
    rows = [row for model in architectures.architectures().values() for row in _published(model, arrays)]
    if MAE in file_arrays:
        rows = [row for row in rows if row["name"].endswith(".mae")]
    advice = 'place a config.json beside it that names them, such as {"architecture": "vit_base_patch16_224.dino"}'
    if not rows:
        raise UserError(f"{place} has no config.json, and no published weights of timm's have its arrays; {advice}")
    if len({_decisive(row) for row in rows}) > 1:
        names = shortened([row["name"] for row in rows], most=4)
        raise UserError(f"{place} has no config.json, and its arrays could be those of {names}; {advice}")
    if len(rows) == 1:
        return {"architecture": rows[0]["name"]}
    return {"architecture": rows[0]["name"].partition(".")[0], "pretrained_cfg": {"license": ""}}


def _published(model: Model, arrays: Arrays) -> list[dict[str, str]]:
    """Returns the published weights of an architecture that have such arrays, as far as the first block shows."""
    size, kernel = model.options["size"], arrays["patch_embed.proj.weight"]
    depth = sum(name.endswith(".norm2.weight") for name in arrays)
    if (size["width"], size["depth"], size["patch"]) != (kernel.shape[0], depth, list(kernel.shape[2:])):
        return []
    arrays = {name: array for name, array in arrays.items() if not re.match(r"blocks\.[1-9]", name)}
    try:
        ours = to_ours(arrays, rows.rows(rows.forms_of(arrays)), rows.sizes(size["heads"]))
        if "positions/table" in ours:
            positions.unfold(ours)
        found = {**facts.model_options(ours), "class_token": "class_token" in ours}
        found["size"] |= {"depth": depth}
    except UserError:
        return []
    if found["size"] != size or architectures.misfits(model, found):
        return []
    height, width = facts.image_size(ours) if "positions/grid" in ours else model.image_size
    wanted = {"image_size": f"{height}x{width}", "classes": str(found["classes"])}
    return [
        row
        for row in architectures.tags()
        if row["name"].partition(".")[0] == model.name and wanted.items() <= row.items()
    ]


def _decisive(row: dict[str, str]) -> tuple[object, ...]:
    """Returns what no array tells, and must be known."""
    whole = architectures.parts(architectures.named(row["name"].partition(".")[0]).options)
    return (*(whole[name] for name in TOLD), row["mean"], row["std"])


def position_resize(architecture: str, tag: str) -> str:
    """Returns the kernel that facebookresearch's own code resizes the positions of these weights by.

    DINOv2's files with registers antialias, as timm does (facebookresearch/dinov2, hub/backbones.py).
    """
    offset = tag == "dino" or (tag == "lvd142m" and "_reg" not in architecture)
    return "cubic_torch_offset" if offset else "cubic"
