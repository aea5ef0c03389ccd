"""big_vision's Vision Transformers as `.npz` files: its plain ones, FlexiViT, SigLIP (gs://big_vision)."""

import dataclasses
import os
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax.errors import UserError
from vit_jax.weights import facts, google, nesting, positions, unsaid
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded, as_published, odd_dtypes, refuse_other_kinds
from vit_jax.weights.recipe import Recipe
from vit_jax.weights.rename import Arrays, Row, to_ours, to_theirs

NORM = "Transformer/encoder_norm/scale"
POSITIONS = ("pos_embedding", "Transformer/pos_embedding")  # now, and before 2022: vit.py, fix_old_checkpoints
POOLS = ("MAPHead_0/", "")  # now, and while ViT-G was made: the same
BLOCKS = "Transformer/encoderblock"  # of a model that ran them by a scan; else "_0", "_1", … follow
MOST_BLOCKS = 1000

# What the files do not say: google-research/big_vision at 0127fb6. Linen's norms add 1e-6, and its gelu is by tanh.
NUMERICS = {"activation": "gelu_tanh", "norm_epsilon": 1e-6}
MEAN = STD = (0.5, 0.5, 0.5)
SINCOS2D_SIDE = 224  # pixels: configs/vit_s16_i1k.py, which published the only files without a table of positions

# FlexiViT's arrays are those of a B/32 at 224 pixels; only the file's name tells that other patches may be cut from
# its kernel. Its positions are resized as models/proj/flexi/vit.py does it, and not as vit.py.
FLEXIVIT = "flexivit"


@dataclasses.dataclass(frozen=True)
class Form:
    """How a file says it, which varies; as it stands, as big_vision shares models now.

    Attributes:
      prefix: what stands before every name.
      numbering: one of google.NUMBERINGS.
      positions: the name of their table, one of POSITIONS.
      pool: what stands before the names of attention pooling, one of POOLS.
      scan: whether each array holds all the blocks', one after another.
    """

    prefix: str = ""
    numbering: str = "linen"
    positions: str = POSITIONS[0]
    pool: str = POOLS[0]
    scan: bool = False

    @property
    def rows(self) -> tuple[Row, ...]:
        """The table, but for attention pooling."""
        return google.rows(self.numbering, self.positions)

    @property
    def pool_rows(self) -> tuple[Row, ...]:
        """The table of attention pooling."""
        attention, mlp = f"{self.pool}MultiHeadDotProductAttention_0", f"{self.pool}MlpBlock_0"
        return (
            Row(f"{self.pool}probe", "pool/probe", "1 count width -> count width"),
            *google.dense(f"{attention}/query", "pool/attention/query"),
            *google.dense(f"{attention}/key", "pool/attention/key"),
            *google.dense(f"{attention}/value", "pool/attention/value"),
            *google.dense(f"{attention}/out", "pool/attention/out"),
            *google.norm(f"{self.pool}LayerNorm_0", "pool/norm"),
            *google.dense(f"{mlp}/Dense_0", "pool/mlp/hidden"),
            *google.dense(f"{mlp}/Dense_1", "pool/mlp/out"),
        )


def recognises(file: File) -> bool:
    """Returns whether `file` is one of these, which have an encoder's arrays and not its older positions."""
    prefix = nesting.prefix(file.arrays)
    return prefix is not None and f"{prefix}{NORM}" in file.arrays and not google.recognises(file)


def load(file: File) -> Loaded:
    """Returns the weights of the image encoder in our layout with all that is known about them.

    Raises:
      UserError: names or shapes of another family, arrays that are not floats, positions off the grid.
    """
    prefix, arrays, aside = nesting.encoder(file)
    refuse_other_kinds(arrays)
    form = Form(
        prefix,
        google.numbering_of(arrays),
        positions=next((name for name in POSITIONS if name in arrays), POSITIONS[0]),
        pool=next((name for name in POOLS if f"{name}probe" in arrays), POOLS[0]),
        scan=any(name.startswith(f"{BLOCKS}/") for name in arrays),
    )
    plain = _unstacked(arrays) if form.scan else arrays
    ours = to_ours(plain, form.rows + (form.pool_rows if f"{form.pool}probe" in arrays else ()))
    learned, flexible = "positions/table" in ours, os.path.basename(file.place).startswith(FLEXIVIT)
    if learned:
        positions.unfold(ours, file.recipe.image_size if file.recipe else None)
    ours = {name: np.asarray(array, np.float32) for name, array in ours.items()}
    image_size = facts.image_size(ours) if learned else _tiled(SINCOS2D_SIDE, facts.size(ours).patch)
    details = {"left_aside": aside, "dtypes": odd_dtypes(arrays)}
    recipe = Recipe(
        model=understood(ours),
        image_size=image_size,
        mean=MEAN,
        std=STD,
        # configs/vit_s16_i1k.py and vit_i21k.py crop 224 of 256; the demo of SigLIP squashes.
        preprocess={"kind": "squash"} if prefix.endswith(nesting.IMAGE) else {"kind": "resize_crop"},
        loss=google.loss(ours, prefix),
        class_names=(),
        position_resize="linear" if flexible else "linear_align_corners",
        patch_resize="pseudo_inverse" if flexible else "",
        source=os.path.basename(file.place),
        license="Apache-2.0",
        origin={"format": "big_vision", "form": dataclasses.asdict(form)}
        | {name: value for name, value in details.items() if value},
    )
    return Loaded(unflatten_dict(ours, sep="/"), recipe)


def understood(ours: Arrays) -> dict[str, Any]:
    """Returns the options of `models.build` that people understand who have these arrays and know the family."""
    options = facts.model_options(ours) | NUMERICS
    return options if "positions/grid" in ours else options | {"positions": "sincos2d"}


def save(loaded: Loaded) -> File:
    """Returns the file of the encoder: the exact inverse of `load`, but for what was left aside.

    Weights of other families too, as big_vision shares models now; its class token has no position, so that of another
    is added to it, where the model adds it anyway.

    Raises:
      UserError: a model that such files cannot express.
    """
    origin = loaded.recipe.origin if loaded.recipe.origin.get("format") == "big_vision" else {}
    form = Form(**origin.get("form", {}))
    loaded = loaded if origin else positions.taken_in(loaded)
    ours = {name: np.asarray(array) for name, array in flatten_dict(loaded.parameters, sep="/").items()}
    unsaid.check(loaded.recipe.model, understood(ours), "big_vision")
    if "positions/grid" in ours:
        positions.fold(ours)
    plain = to_theirs(ours, form.rows + (form.pool_rows if "pool/probe" in ours else ()))
    arrays = as_published(_stacked(plain) if form.scan else plain, origin)
    arrays = {f"{form.prefix}{name}": array for name, array in arrays.items()}
    return File(arrays, notes={"recipe": dataclasses.asdict(loaded.recipe)})


def _unstacked(arrays: Arrays) -> Arrays:
    """Returns the arrays with a name for each block: those of a scan hold all blocks along their first axis."""
    stacks = {name.removeprefix(BLOCKS): array for name, array in arrays.items() if name.startswith(f"{BLOCKS}/")}
    lengths = {array.shape[:1] for array in stacks.values()}
    if len(lengths) != 1 or not 0 < max(*lengths.pop(), 0) <= MOST_BLOCKS:
        shapes = ", ".join(f"{BLOCKS}{name} {array.shape}" for name, array in list(stacks.items())[:4])
        raise UserError(
            f"the arrays of a scan share the length of their first axis; got {shapes}; is the file damaged?"
        )
    return {name: array for name, array in arrays.items() if not name.startswith(f"{BLOCKS}/")} | {
        f"{BLOCKS}_{number}{name}": layer for name, stack in stacks.items() for number, layer in enumerate(stack)
    }


def _stacked(arrays: Arrays) -> Arrays:
    """Returns the arrays as `_unstacked` found them."""
    first = f"{BLOCKS}_0/"
    parts = [name.removeprefix(first) for name in arrays if name.startswith(first)]
    depth = sum(name.endswith(f"/{parts[0]}") and name.startswith(f"{BLOCKS}_") for name in arrays)
    stacks = {
        f"{BLOCKS}/{part}": np.stack([arrays[f"{BLOCKS}_{number}/{part}"] for number in range(depth)]) for part in parts
    }
    return {name: array for name, array in arrays.items() if not name.startswith(f"{BLOCKS}_")} | stacks


def _tiled(side: int, patch: tuple[int, int]) -> tuple[int, int]:
    """Returns the largest (height, width) within `side` pixels that patches of this size tile."""
    height, width = (max(1, side // length) * length for length in patch)
    return height, width
