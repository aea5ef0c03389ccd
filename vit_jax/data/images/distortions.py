"""What happens to a cropped image on the host, before it joins a batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from vit_jax.data.images import Image
from vit_jax.data.images.erase import Erase
from vit_jax.data.images.picture import Picture
from vit_jax.data.images.preprocess import Transform
from vit_jax.data.images.randaugment import RandAugment
from vit_jax.errors import UserError, construct, pick

Distortion: TypeAlias = Callable[[Image, np.random.Generator], Image]

# In the order in which they are applied.
DISTORTIONS: dict[str, Callable[..., Distortion]] = {"randaugment": RandAugment, "erase": Erase}


@dataclass(frozen=True)
class Distorted:
    """A transform and, after it, the distortions one by one; all draw from the one generator that it is given."""

    transform: Transform
    distortions: tuple[Distortion, ...]

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Image:
        """Returns the image that comes out last."""
        image = self.transform(picture, rng)
        for distort in self.distortions:
            image = distort(image, rng)
        return image


def after(transform: Transform, augment: Mapping[str, Any]) -> Transform:
    """Returns `transform` followed by the distortions that `augment` names, each with a section of its options.

    They are applied in the order of DISTORTIONS, whatever theirs in `augment`. Raises UserError for an unknown kind or
    an option that it does not read.

    >>> squash = lambda picture, rng: np.asarray(picture)
    >>> after(squash, {"erase": {"probability": 0.25}}).distortions[0].probability
    0.25
    """
    for kind, options in augment.items():
        pick(DISTORTIONS, kind, "augmentation")
        if not isinstance(options, Mapping):
            raise UserError(f'augment "{kind}" is a section of options, {{}} for the defaults; got {options!r}')
    chosen = [kind for kind in DISTORTIONS if kind in augment]
    distortions = tuple(construct(DISTORTIONS[kind], f'augment "{kind}"', **augment[kind]) for kind in chosen)
    return Distorted(transform, distortions) if distortions else transform
