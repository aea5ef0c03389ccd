"""What is decoded of a JPEG, against Pillow's own decoding of the whole and its own resizing."""

import io
import sys

import numpy as np
import PIL.Image
import pytest
from photos import encoded, photo

from vit_jax.data.images import pillow, preprocess
from vit_jax.data.images.decode import decode
from vit_jax.data.images.picture import Jpeg, opened
from vit_jax.data.unreadable import UnreadableImageError
from vit_jax.errors import UserError

RNG = np.random.default_rng(0)
PHOTO = photo(241, 331, RNG)  # no side is a multiple of a block's
PHOTOS = {
    "4:2:0": encoded(PHOTO, quality=90),
    "4:2:2": encoded(PHOTO, quality=75, subsampling=1),
    "4:4:4": encoded(PHOTO, quality=95, subsampling=0),
    "optimized": encoded(PHOTO, optimize=True),
    "restarting": encoded(PHOTO, restart_marker_rows=1),
    "progressive": encoded(PHOTO, quality=85, progressive=True),
    "grey": encoded(PHOTO.convert("L"), quality=90),
    "grey, progressive": encoded(PHOTO.convert("L"), progressive=True),
}
BOXES = [
    (0, 0, 331, 241),
    (0, 0, 150, 100),
    (181, 0, 331, 33),
    (40, 30, 171, 122),
    (100, 80, 131, 112),
    (3.25, 17.5, 201.75, 180.125),
    (181, 141, 331, 241),
    (330, 0, 331, 1),
]
SIZES = [(64, 64), (90, 30), (224, 160), (331, 241)]
KERNELS = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}


def whole(file):
    return PIL.Image.open(io.BytesIO(file)).convert("RGB")


def still_a_jpeg(file):
    picture = opened(file, "photo.jpg")
    assert isinstance(picture, Jpeg)
    return picture


@pytest.mark.parametrize("resample", KERNELS)
@pytest.mark.parametrize("kind", PHOTOS)
def test_decoding_the_rows_of_a_box_gives_the_pixels_of_decoding_all(kind, resample):
    file, left_out = PHOTOS[kind], 0
    for box in BOXES:
        for size in SIZES:
            jpeg = still_a_jpeg(file)
            part = jpeg.part(box, size, resample)
            if part.shrink > 1:
                continue
            left_out += 241 - part.rows
            expected = np.asarray(whole(file).resize(size, KERNELS[resample], box))
            np.testing.assert_array_equal(pillow.resized(jpeg, size, resample, box), expected)
    assert (left_out > 0) == ("progressive" not in kind)


@pytest.mark.parametrize(
    "options", [{"quality": 90}, {"quality": 75, "progressive": True}, {"subsampling": 0}, {"subsampling": 1}]
)
@pytest.mark.parametrize("shape", [(600, 800), (601, 903)])
def test_decoding_at_a_half_a_quarter_or_an_eighth_is_within_a_grey_level(shape, options):
    """The mean is below 0.75; of a thousand values one may be further off than 12, where blocks are cut at an edge."""
    file = encoded(photo(*shape, RNG), **options)
    shrinks = set()
    for size, box in (
        ((128, 96), (0, 0, 800, 600)),
        ((64, 64), (0, 0, *shape[::-1])),
        ((32, 32), (5, 9, 700, 590)),
        ((32, 24), (0, 0, *shape[::-1])),
        ((40, 40), (300, 250, 800, 600)),
    ):
        for resample, kernel in KERNELS.items():
            jpeg = still_a_jpeg(file)
            shrinks.add(jpeg.part(box, size, resample).shrink)
            expected = np.asarray(whole(file).resize(size, kernel, box)).astype(int)
            difference = np.abs(pillow.resized(jpeg, size, resample, box) - expected)
            assert difference.mean() < 0.75 and np.quantile(difference, 0.999) <= 12
    assert shrinks == ({1, 2, 4} if options.get("subsampling") == 1 else {2, 4, 8})


@pytest.mark.parametrize("resample", KERNELS)
def test_the_rows_of_a_tall_photo_give_the_pixels_of_decoding_all(resample):
    """Pillow 13 resizes what is tall along its height first, and rounds otherwise then."""
    file, left_out = encoded(PHOTO.rotate(90, expand=True).resize((80, 400)), subsampling=0), 0
    for box in ((0, 0, 80, 60), (10, 20, 61, 108), (5.25, 100.5, 70.125, 220.75), (30, 300, 60, 320)):
        for size in ((8, 48), (48, 40), (90, 64), (64, 300)):
            jpeg = still_a_jpeg(file)
            part = jpeg.part(box, size, resample)
            if part.shrink == 1:
                left_out += 400 - part.rows
                expected = np.asarray(whole(file).resize(size, KERNELS[resample], box))
                np.testing.assert_array_equal(pillow.resized(jpeg, size, resample, box), expected)
    assert left_out > 0


@pytest.mark.parametrize("kind", preprocess.TRANSFORMS)
def test_a_crop_is_drawn_from_the_size_alone(kind):
    transform = preprocess.build(kind, (100, 90))
    file = PHOTOS["4:2:0"]
    for seed in range(20):
        of_file = transform(opened(file, "photo.jpg"), np.random.default_rng(seed))
        of_pixels = transform(whole(file), np.random.default_rng(seed))
        np.testing.assert_array_equal(of_file, of_pixels)


def turned():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return encoded(PHOTO, exif=exif)


ODD = {
    "turned": turned(),
    "CMYK": encoded(PHOTO.convert("CMYK")),
    "PNG": encoded(PHOTO, "PNG"),
    "something after its end": PHOTOS["4:2:0"] + b"and so on",
    "a filled marker": PHOTOS["4:2:0"][:2] + b"\xff" + PHOTOS["4:2:0"][2:],
}


@pytest.mark.parametrize("kind", ODD)
def test_images_that_are_not_like_most_come_out_as_decode_has_them(kind):
    expected = decode(ODD[kind], "a")
    assert expected.size == ((241, 331) if kind == "turned" else (331, 241))
    picture = opened(ODD[kind], "a")
    assert picture.size == expected.size
    box = (20, 10, 120, 90)
    resized = pillow.resized(picture, (64, 48), "bilinear", box)
    np.testing.assert_array_equal(resized, np.asarray(expected.resize((64, 48), PIL.Image.Resampling.BILINEAR, box)))


def test_exif_that_turns_nothing_is_no_reason_to_decode_all():
    exif = PIL.Image.Exif()
    exif[0x010F] = "a camera"
    assert still_a_jpeg(encoded(PHOTO, exif=exif)).size == (331, 241)


def test_an_image_too_large_to_be_honest_is_decodes_to_refuse(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableImageError, match=r'"photo\.jpg" is too large'):
        opened(PHOTOS["4:2:0"], "photo.jpg")


DECODERS = ["pil", pytest.param("fast", marks=pytest.mark.parity)]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "grey"])
def test_a_jpeg_that_ends_early_is_named_whatever_is_cut_from_it(kind, decoder):
    file = PHOTOS[kind]
    corner = preprocess.build("squash", (32, 32), crop_ratio=0.1, decoder=decoder)
    for kept in (len(file) - 2, len(file) * 3 // 4, len(file) // 2, 200, 2):
        with pytest.raises(UnreadableImageError, match=r'cannot decode "holiday\.jpg"'):
            corner(opened(file[:kept], "holiday.jpg"), RNG)


def test_a_frame_header_that_ends_early_is_an_unreadable_image():
    with pytest.raises(UnreadableImageError, match="cannot decode"):
        opened(bytes.fromhex("ffd8 ffc0 0002 ffda"), "short.jpg")


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some of the damage
@pytest.mark.parametrize("decoder", DECODERS)
def test_a_damaged_jpeg_gives_what_decoding_all_of_it_gives(decoder):
    """Some bytes overwritten, of the header too: the pixels of Pillow, where Pillow gives any; else no traceback."""
    rng = np.random.default_rng(5)
    intact = np.frombuffer(encoded(PHOTO.resize((120, 90))), np.uint8)
    squash, same = preprocess.build("squash", (40, 40), crop_ratio=0.5, decoder=decoder), 0
    for _ in range(300):
        damaged = intact.copy()
        damaged[rng.integers(len(damaged), size=2)] = rng.integers(256, size=2)
        try:
            image = squash(opened(damaged.tobytes(), "damaged"), rng).astype(int)
            expected = preprocess.build("squash", (40, 40), crop_ratio=0.5)(decode(damaged.tobytes(), "damaged"), rng)
        except UnreadableImageError:
            continue
        assert np.abs(image - expected).max() <= (1 if decoder == "fast" else 0)
        same += 1
    assert same > 200


@pytest.mark.parity
@pytest.mark.parametrize("resample", KERNELS)
@pytest.mark.parametrize("kind", [*PHOTOS, *ODD])
def test_the_fast_decoder_is_within_one_grey_level_of_pillow(kind, resample):
    """Of bicubic's overshoots, which either clips between its two passes, a few are further off."""
    from vit_jax.data.images import fast

    file = (PHOTOS | ODD)[kind]
    for box in BOXES:
        if kind == "turned":
            box = (box[1], box[0], box[3], box[2])
        for size in SIZES:
            ours = fast.resized(opened(file, "a"), size, resample, box).astype(int)
            difference = np.abs(ours - pillow.resized(opened(file, "a"), size, resample, box))
            assert difference.max() <= (1 if resample == "bilinear" else 8)
            assert difference.mean() < 0.3 and np.quantile(difference, 0.999) <= 2


@pytest.mark.parity
def test_the_fast_decoder_shrinks_as_pillow_does():
    from vit_jax.data.images import fast

    for options in ({}, {"progressive": True}, {"subsampling": 0}):
        file = encoded(photo(601, 903, RNG), **options)
        for size, box in (
            ((128, 96), (0, 0, 800, 600)),
            ((32, 24), (0, 0, 903, 601)),
            ((40, 40), (300, 250, 800, 590)),
        ):
            ours = fast.resized(still_a_jpeg(file), size, "bilinear", box).astype(int)
            difference = np.abs(ours - pillow.resized(still_a_jpeg(file), size, "bilinear", box))
            assert difference.max() <= 1 and difference.mean() < 0.3


@pytest.mark.parity
def test_the_fast_decoders_pixels_are_the_same_on_any_processor():
    import cykooz_resizer as cykooz

    pixels = np.asarray(PHOTO).tobytes()
    source = cykooz.ImageData(331, 241, cykooz.PixelType.U8x3, pixels)
    for kernel in (cykooz.FilterType.bilinear, cykooz.FilterType.catmull_rom):
        for size in ((64, 64), (500, 300)):
            seen = set()
            for extensions in (cykooz.CpuExtensions.none, cykooz.CpuExtensions.sse4_1, cykooz.CpuExtensions.avx2):
                resizer, target = cykooz.Resizer(), cykooz.ImageData(*size, cykooz.PixelType.U8x3)
                resizer.cpu_extensions = extensions
                options = cykooz.ResizeOptions(cykooz.ResizeAlg.convolution(kernel))
                resizer.resize(source, target, options)
                seen.add(target.get_buffer())
            assert len(seen) == 1


def test_a_decoder_that_is_not_installed_is_a_line(monkeypatch):
    from vit_jax.data.images import fast

    fast.libraries.cache_clear()
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(UserError, match=r'decoder "fast" needs simplejpeg: install the extra \[fast\]'):
        preprocess.build("squash", (8, 8), decoder="fast")
    with pytest.raises(UserError, match='unknown decoder "fats"'):
        preprocess.build("squash", (8, 8), decoder="fats")
