"""Images, one at a time: decoded, cut to size, distorted. On the host; nothing here imports JAX."""

from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

Image: TypeAlias = UInt8[np.ndarray, "height width 3"]
