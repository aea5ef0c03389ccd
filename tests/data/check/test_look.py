import io

import flawed
import hostile
import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_sample_images

from vit_jax.data.check.look import LOST, Flaw, content, look, moments, sketch
from vit_jax.data.examples import Example

FOUND = {
    "empty.jpg": Flaw.NOT_AN_IMAGE,
    "text.png": Flaw.NOT_AN_IMAGE,
    "truncated.jpg": Flaw.DAMAGED,
    "truncated.png": Flaw.DAMAGED,
    "bomb.png": Flaw.TOO_LARGE,
    "one_pixel.gif": Flaw.ONE_PIXEL,
    "tiny.png": Flaw.TINY | Flaw.STRETCHED,
    "constant.png": Flaw.CONSTANT,
    "stretched.png": Flaw.STRETCHED,
    "animated.gif": Flaw.ANIMATED,
    "cmyk.jpg": Flaw.CMYK,
    "grey.jpg": Flaw.GREY,
    "transparent.png": Flaw.TRANSPARENT,
    "deep.png": Flaw.DEEP,
    "deep_grey.png": Flaw.DEEP | Flaw.GREY,
    "rotated.jpg": Flaw.ROTATED,
    "a_png.jpg": Flaw.WRONG_SUFFIX,
    "fine.jpg": Flaw(0),
    "fine.webp": Flaw(0),
}


@pytest.mark.parametrize("name", flawed.FILES)
def test_each_flaw_is_found_and_no_other(name):
    looked = look(Example(flawed.FILES[name], 0, f"somewhere/{name}"))
    assert looked.flaws == FOUND[name]
    assert bool(looked.flaws & LOST) == (looked.height == 0) == bool(looked.reason)
    assert name in looked.reason or not looked.reason


def test_no_damage_stops_the_reading():
    for seed, file in enumerate(flawed.FILES.values()):
        for damaged in hostile.mutations(file, 15 * bool(file), seed):
            looked = look(Example(damaged, 0, "damaged"))
            assert bool(looked.flaws & LOST) == bool(looked.reason)


def test_sides_are_those_of_the_upright_image():
    looked = look(Example(flawed.FILES["rotated.jpg"], 0, ""))
    assert (looked.height, looked.width) == (160, 120), "saved as 120 high, to be turned by a quarter"


def test_a_huge_image_is_told_from_a_bomb(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 12_000)
    image = flawed.saved(flawed.picture(0))
    assert look(Example(image, 0, "")).flaws == Flaw.HUGE
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 9_000)
    assert look(Example(image, 0, "")).flaws == Flaw.TOO_LARGE


def test_arrays_are_looked_at_too():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert look(Example(grey, 0, "")).flaws == Flaw.GREY
    assert look(Example(np.stack([grey] * 4, axis=-1), 0, "")).flaws == Flaw.TRANSPARENT
    assert look(Example(np.stack([grey] * 3, axis=-1), 0, "")).flaws == Flaw(0)
    assert look(Example(grey.astype(np.float32), 0, "half")).flaws == Flaw.DAMAGED


def test_moments_are_those_of_the_pixels():
    image = flawed.picture(0)
    pixels = np.asarray(image).reshape(-1, 3) / 255
    mean, square = moments(image)
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(square - mean**2, pixels.var(axis=0), rtol=1e-9)


def test_content_knows_pixels_and_size_and_no_format():
    image = flawed.picture(0)
    again = PIL.Image.open(io.BytesIO(flawed.saved(image, "BMP")))
    assert content(again) == content(image)
    assert content(image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)) != content(image)
    black = [PIL.Image.new("RGB", size) for size in ((4, 6), (6, 4))]
    assert content(black[0]) != content(black[1])


def test_the_sketch_is_a_cosine_transform():
    """Against scipy's."""
    from scipy.fft import dctn

    image = flawed.picture(0, 32, 32)
    waves = dctn(np.asarray(image.convert("L"), float))[:8, :8] * np.hypot(*np.mgrid[:8, :8])
    np.testing.assert_allclose(sketch(image).reshape(8, 8), waves * 127 / np.abs(waves).max(), atol=0.5001)
    assert not sketch(PIL.Image.new("RGB", (50, 50), (7, 8, 9))).any()


def alike(one, other):
    return np.corrcoef(sketch(one), sketch(other))[0, 1]


@pytest.mark.parametrize("copy", flawed.COPIES.values(), ids=flawed.COPIES)
def test_the_sketch_of_a_copy_is_nearly_the_same(copy):
    photographs = [PIL.Image.fromarray(image) for image in load_sample_images().images]
    for image in [*photographs, *(flawed.picture(seed, 200, 150) for seed in range(3))]:
        assert alike(image, copy(image)) > 0.97
    assert alike(*photographs) < 0.5
