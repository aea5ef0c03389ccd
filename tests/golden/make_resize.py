"""Makes resize.npz: position grids resized by scipy and torch, both in float64.

Run with the packages of the `parity` extra: python tests/golden/make_resize.py
"""

import pathlib

import numpy as np
import scipy.ndimage
import torch

PAIRS = [
    ((14, 14), (24, 24)),
    ((24, 24), (14, 14)),
    ((14, 14), (7, 7)),
    ((7, 5), (9, 12)),
    ((1, 4), (3, 8)),
    ((3, 8), (1, 4)),
    ((37, 37), (16, 41)),
]
CHANNELS = 3


def zoom(grid, size):
    """Returns `grid` at `size`, as the code that fine-tuned Google's originals did it."""
    return scipy.ndimage.zoom(grid, (size[0] / grid.shape[0], size[1] / grid.shape[1], 1), order=1)


def interpolate(mode, antialias):
    """Returns the same job done by torch, with half-pixel centres."""

    def resize(grid, size):
        image = torch.from_numpy(grid).permute(2, 0, 1)[None]
        resized = torch.nn.functional.interpolate(image, size, mode=mode, align_corners=False, antialias=antialias)
        return resized[0].permute(1, 2, 0).numpy()

    return resize


def interpolate_with_offset(grid, size):
    """Returns the same job done as by DINO and DINOv2: by a scale a tenth of a patch too large."""
    image = torch.from_numpy(grid).permute(2, 0, 1)[None]
    scale = tuple((after + 0.1) / before for before, after in zip(grid.shape[:2], size, strict=True))
    resized = torch.nn.functional.interpolate(image, scale_factor=scale, mode="bicubic")
    return resized[0].permute(1, 2, 0).numpy()


KERNELS = {
    "linear": interpolate("bilinear", antialias=True),
    "linear_align_corners": zoom,
    "cubic": interpolate("bicubic", antialias=True),
    "cubic_torch": interpolate("bicubic", antialias=False),
    "cubic_torch_offset": interpolate_with_offset,
}


def main():
    """Writes resize.npz beside this script."""
    random = np.random.default_rng(0)
    arrays = {}
    for before, after in PAIRS:
        grid = random.normal(size=(*before, CHANNELS)).astype(np.float32)
        pair = f"{before[0]}x{before[1]} to {after[0]}x{after[1]}"
        arrays[f"{pair}/grid"] = grid
        for kernel, resize in KERNELS.items():
            arrays[f"{pair}/{kernel}"] = resize(grid.astype(np.float64), after).astype(np.float32)
    np.savez_compressed(pathlib.Path(__file__).with_name("resize.npz"), **arrays)


if __name__ == "__main__":
    main()
