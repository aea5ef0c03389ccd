"""From a picture to an image of the size that the model wants: cropping, resizing, flipping, on the host."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from vit_jax.data.images import Image, fast, pillow
from vit_jax.data.images.picture import Box, Picture
from vit_jax.errors import UserError, construct, pick

Transform: TypeAlias = Callable[[Picture, np.random.Generator], Image]

# Who decodes and resizes. Never chosen by what is installed: their pixels differ.
DECODERS = {"pil": pillow.resized, "fast": fast.resized}


def build(kind: str, image_size: Sequence[int], **options: Any) -> Transform:
    """Returns the transform that makes images of `image_size` (height, width) in the way `kind` names.

    Raises UserError for an unknown kind or an option that it does not read.

    >>> import PIL.Image
    >>> squash = build("squash", (4, 6))
    >>> squash(PIL.Image.new("RGB", (9, 9)), np.random.default_rng(0)).shape
    (4, 6, 3)
    """
    if len(image_size) != 2 or min(image_size) < 1:
        raise UserError(f"image_size is {tuple(image_size)}; give (height, width), both at least 1")
    height, width = image_size
    return construct(pick(TRANSFORMS, kind, "preprocess"), f'preprocess "{kind}"', (int(height), int(width)), **options)


def _flip(image: Image, rng: np.random.Generator) -> Image:
    if rng.random() >= 0.5:
        return image
    mirrored = np.empty_like(image)
    for channel in range(3):  # a fifth of the time of copying pixel by pixel: three bytes are too few
        mirrored[..., channel] = image[:, ::-1, channel]
    return mirrored


@dataclass(frozen=True)
class _Sized:
    image_size: tuple[int, int]  # height, width
    resample: str = "bilinear"
    decoder: str = "pil"

    def __post_init__(self):
        pick(pillow.RESAMPLES, self.resample, "resample")
        pick(DECODERS, self.decoder, "decoder")
        if self.decoder == "fast":
            fast.libraries()

    def _resized(self, picture: Picture, box: Box | None = None) -> Image:
        """Returns `box` of the picture, the whole without one, at `image_size`; antialiased."""
        height, width = self.image_size
        return DECODERS[self.decoder](picture, (width, height), self.resample, box or (0, 0, *picture.size))


@dataclass(frozen=True)
class _Cropped(_Sized):
    crop_ratio: float = 0.875

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.crop_ratio <= 1:
            raise UserError(f"crop_ratio is {self.crop_ratio}; give the part of the image that is kept, 0 < part <= 1")


@dataclass(frozen=True)
class Squash(_Cropped):
    """The whole image, its sides stretched as they must be; or its centre, `crop_ratio` of either side."""

    crop_ratio: float = 1.0

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Image:
        """Returns the image at `image_size`; `rng` is not used."""
        if self.crop_ratio == 1:
            return self._resized(picture)
        width, height = picture.size
        left, top = (side * (1 - self.crop_ratio) / 2 for side in picture.size)
        return self._resized(picture, (left, top, width - left, height - top))


@dataclass(frozen=True)
class ResizeCrop(_Cropped):
    """The largest centred crop with the sides' ratio of `image_size`, scaled by `crop_ratio`: 0.875 is 224 of 256."""

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Image:
        """Returns the crop at `image_size`; `rng` is not used."""
        width, height = picture.size
        scale = self.crop_ratio * min(height / self.image_size[0], width / self.image_size[1])
        crop_height, crop_width = self.image_size[0] * scale, self.image_size[1] * scale
        top, left = (height - crop_height) / 2, (width - crop_width) / 2
        return self._resized(picture, (left, top, left + crop_width, top + crop_height))


@dataclass(frozen=True)
class InceptionCrop(_Sized):
    """A random part of the image at a random ratio of sides (Szegedy et al., arXiv 1409.4842, section 6).

    `area` bounds the part of the image's area, `ratio` width over height. After ten draws that do not fit: the largest
    centred crop whose ratio is in bounds. `flip` mirrors every second image.
    """

    area: Sequence[float] = (0.05, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    flip: bool = True

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise UserError(f"area is {tuple(self.area)}; give two parts of the image in order, within 0 and 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(f"ratio is {tuple(self.ratio)}; give two ratios of width to height in order")

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Image:
        """Returns a crop at `image_size`."""
        width, height = picture.size
        crop = self._resized(picture, self.draw_box(height, width, rng))
        return _flip(crop, rng) if self.flip else crop

    def draw_box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """Returns the box of whole pixels to be cut from an image of `height` and `width`."""
        for _ in range(10):
            crop_area = rng.uniform(self.area[0], self.area[1]) * height * width
            crop_ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            crop_width = round(math.sqrt(crop_area * crop_ratio))
            crop_height = round(math.sqrt(crop_area / crop_ratio))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                left, top = int(rng.integers(width - crop_width + 1)), int(rng.integers(height - crop_height + 1))
                return left, top, left + crop_width, top + crop_height
        crop_width = min(width, max(1, round(height * self.ratio[1])))
        crop_height = min(height, max(1, round(width / self.ratio[0])))
        left, top = (width - crop_width) // 2, (height - crop_height) // 2
        return left, top, left + crop_width, top + crop_height


@dataclass(frozen=True)
class RandomCrop(_Cropped):
    """A crop at a random place, its sides `crop_ratio` of the largest that fit: 384 of 448 (big_vision's transfers).

    It has the sides' ratio of `image_size`, or, with `squash`, that of the image. `flip` mirrors every second image.
    """

    squash: bool = False
    flip: bool = True

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Image:
        """Returns a crop at `image_size`."""
        width, height = picture.size
        fits = min(height / self.image_size[0], width / self.image_size[1])
        most = (height, width) if self.squash else (self.image_size[0] * fits, self.image_size[1] * fits)
        crop_height, crop_width = self.crop_ratio * most[0], self.crop_ratio * most[1]
        top, left = rng.random() * (height - crop_height), rng.random() * (width - crop_width)
        # What rounding adds to the far edges, Pillow would not take.
        crop = self._resized(picture, (left, top, min(left + crop_width, width), min(top + crop_height, height)))
        return _flip(crop, rng) if self.flip else crop


@dataclass(frozen=True)
class PadCrop(_Sized):
    """The image at `image_size`, moved by up to `padding` pixels each way; black comes in at the edges.

    As CIFAR is augmented (He et al., arXiv 1512.03385, section 4.2); `flip` mirrors every second image.
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self):
        super().__post_init__()
        if self.padding < 0:
            raise UserError(f"padding is {self.padding}; give 0 pixels or more")

    def __call__(self, picture: Picture, rng: np.random.Generator) -> Image:
        """Returns the image at `image_size`, moved."""
        height, width = self.image_size
        places = 2 * self.padding + 1
        top, left = int(rng.integers(places)), int(rng.integers(places))
        padded = np.zeros((height + 2 * self.padding, width + 2 * self.padding, 3), np.uint8)
        inside = slice(self.padding, self.padding + height), slice(self.padding, self.padding + width)
        padded[inside] = self._resized(picture)
        crop = padded[top : top + height, left : left + width]
        return _flip(crop, rng) if self.flip else crop


TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "inception_crop": InceptionCrop,
    "pad_crop": PadCrop,
    "random_crop": RandomCrop,
    "resize_crop": ResizeCrop,
    "squash": Squash,
}
