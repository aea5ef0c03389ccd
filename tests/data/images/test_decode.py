import io

import numpy as np
import PIL.Image
import pytest

from vit_jax.data.images import decode as decoding
from vit_jax.errors import UserError

RNG = np.random.default_rng(0)
PHOTO = np.asarray(  # smooth, so that JPEG and resizing keep it recognisable
    PIL.Image.fromarray(RNG.integers(0, 256, (6, 8, 3), np.uint8)).resize((80, 60), PIL.Image.Resampling.BICUBIC)
)


def decode(image, name):
    picture = decoding.decode(image, name)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def encoded(picture, form="PNG", **options):
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def test_rgb_comes_back_as_it_was():
    np.testing.assert_array_equal(decode(encoded(PIL.Image.fromarray(PHOTO)), "a.png"), PHOTO)
    np.testing.assert_array_equal(decode(PHOTO, "array"), PHOTO)


def test_jpeg_comes_back_nearly():
    decoded = decode(encoded(PIL.Image.fromarray(PHOTO), "JPEG", quality=95), "a.jpg").astype(int)
    assert np.abs(decoded - PHOTO).mean() < 3


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1)])
def test_grey_is_repeated(shape):
    grey = RNG.integers(0, 256, shape, np.uint8)
    expected = np.stack([grey.reshape(3, 5)] * 3, axis=-1)
    np.testing.assert_array_equal(decode(grey, "array"), expected)
    np.testing.assert_array_equal(decode(encoded(PIL.Image.fromarray(grey.reshape(3, 5))), "a.png"), expected)


def test_transparency_lies_on_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200  # red, at no, half and full strength
    rgba[0, :, 3] = [0, 128, 255]
    expected = np.array([[[255, 255, 255], [227, 127, 127], [200, 0, 0]]])
    for image in (rgba, encoded(PIL.Image.fromarray(rgba)), encoded(PIL.Image.fromarray(rgba), "TIFF")):
        assert np.abs(decode(image, "a").astype(int) - expected).max() <= 1


def test_palettes_with_and_without_transparency():
    palette = PIL.Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    np.testing.assert_array_equal(decode(encoded(palette), "a.png"), [[[10, 20, 30], [40, 50, 60]]])
    np.testing.assert_array_equal(decode(encoded(palette, transparency=0), "a.png"), [[[255, 255, 255], [40, 50, 60]]])
    grey = PIL.Image.fromarray(np.array([[0, 9]], np.uint8))
    assert decode(encoded(grey, transparency=9), "a.png")[0, :, 0].tolist() == [0, 255]


def test_cmyk_is_understood():
    cmyk = PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    decoded = decode(encoded(cmyk, "JPEG", quality=95), "a.jpg")
    assert np.abs(decoded[8, 8].astype(int) - [255, 0, 0]).max() < 6


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_rounded_to_eight(form):
    grey = PIL.Image.fromarray(np.array([[0, 100 * 257 - 129, 100 * 257 - 128, 100 * 257 + 128, 65535]], np.uint16))
    assert decode(encoded(grey, form), "a")[0, :, 0].tolist() == [0, 99, 100, 100, 255]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_camera_held_askew_gives_an_upright_image(orientation):
    stored = {1: PHOTO, 3: np.rot90(PHOTO, 2), 6: np.rot90(PHOTO), 8: np.rot90(PHOTO, -1)}[orientation]
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PIL.Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(decode(data, "a.png"), PHOTO)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_file_that_ends_early_is_named(form):
    data = encoded(PIL.Image.fromarray(PHOTO), form)
    for kept in (len(data) // 2, 10, 0):
        with pytest.raises(UserError, match=r'cannot decode "holiday\.img"') as raised:
            decode(data[:kept], "holiday.img")
        assert "\n" not in str(raised.value)


def test_what_is_no_image_is_named():
    with pytest.raises(UserError, match=r'cannot decode "notes\.txt" \(not an image\)'):
        decode(b"Dear diary", "notes.txt")
    with pytest.raises(UserError, match="floating-point pixels"):
        decode(encoded(PIL.Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "a.tif")


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some of the damage
def test_damaged_files_never_end_in_a_traceback():
    """A thousand files with some bytes overwritten: an image or a UserError, nothing else."""
    rng = np.random.default_rng(5)
    small = PIL.Image.fromarray(PHOTO[:20, :20])
    for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP"):
        whole = np.frombuffer(encoded(small, form), np.uint8)
        for _ in range(200):
            data = whole.copy()
            data[rng.integers(len(data), size=3)] = rng.integers(256, size=3)
            try:
                image = decode(data.tobytes(), "damaged")
            except UserError:
                continue
            assert image.shape[-1] == 3


def test_a_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match=r'"bomb\.png" is too large'):
        decode(encoded(PIL.Image.new("1", (100, 100))), "bomb.png")


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 2, 3), np.uint8)]
)
def test_arrays_that_are_no_images(image):
    with pytest.raises(UserError, match='"mine"'):
        decode(image, "mine")
