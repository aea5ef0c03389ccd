"""The arrays that travel, their axes named once. Checked at run time under pytest only."""

from typing import Any, TypeAlias

import jax
from jaxtyping import Bool, Float, Int, Num, Shaped, UInt8

PyTree: TypeAlias = Any  # nested dicts of arrays
Parameters: TypeAlias = dict[str, Any]

# Images on the host: vit_jax.data.images, which does without JAX. All these lie on the devices.
Pixels: TypeAlias = UInt8[jax.Array, "batch image_height image_width 3"]
Images: TypeAlias = Float[jax.Array, "batch image_height image_width channels"]
FeatureMap: TypeAlias = Float[jax.Array, "batch map_rows map_columns map_channels"]  # inside a ResNet
NextMap: TypeAlias = Float[jax.Array, "batch next_rows next_columns next_channels"]  # what a layer makes of it
ConvKernel: TypeAlias = Float[jax.Array, "side side channels filters"]
Patches: TypeAlias = Float[jax.Array, "batch rows columns width"]
Tokens: TypeAlias = Float[jax.Array, "batch tokens width"]
Prefix: TypeAlias = Float[jax.Array, "batch prefix width"]  # tokens that stand before the patches'
Features: TypeAlias = Float[jax.Array, "batch width"]
TwoFeatures: TypeAlias = Float[jax.Array, "batch two_widths"]  # side by side
Logits: TypeAlias = Float[jax.Array, "*batch classes"]
Labels: TypeAlias = Int[jax.Array, " batch"] | Int[jax.Array, "batch most"]  # -1 where an image has fewer than most
Targets: TypeAlias = Float[jax.Array, "batch classes"]  # a share for each class
Losses: TypeAlias = Float[jax.Array, " batch"]
PatchPixels: TypeAlias = Num[jax.Array, "batch patches pixels channels"]  # cut from an image, row by row
PatchIndices: TypeAlias = Int[jax.Array, "batch patches"]  # of patches in an image, row by row
PatchFlags: TypeAlias = Bool[jax.Array, "batch patches"]
TakenIndices: TypeAlias = Int[jax.Array, "batch taken"]  # of some patches, in an image
EachPatch: TypeAlias = Shaped[jax.Array, "batch patches *what"]
EachTaken: TypeAlias = Shaped[jax.Array, "batch taken *what"]
PositionGrid: TypeAlias = Float[jax.Array, "rows columns width"]
ResizedGrid: TypeAlias = Float[jax.Array, "new_rows new_columns width"]

# Inside attention: from some tokens, the queries, to others or the same, the keys.
QueryTokens: TypeAlias = Float[jax.Array, "batch queries width"]
KeyTokens: TypeAlias = Float[jax.Array, "batch keys width"]
Queries: TypeAlias = Float[jax.Array, "batch queries heads head_width"]
Keys: TypeAlias = Float[jax.Array, "batch keys heads head_width"]
Angles: TypeAlias = Float[jax.Array, "tokens pairs"]  # in radians, by which queries and keys are turned
AttentionWeights: TypeAlias = Float[jax.Array, "batch heads queries keys"]
