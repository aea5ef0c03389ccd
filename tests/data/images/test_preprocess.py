import numpy as np
import PIL.Image
import pytest

from vit_jax.data.images import preprocess
from vit_jax.errors import UserError

RNG = np.random.default_rng(0)
PICTURE = PIL.Image.fromarray(RNG.integers(0, 256, (6, 8, 3), np.uint8)).resize((80, 60), PIL.Image.Resampling.BICUBIC)
PHOTO = np.asarray(PICTURE)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("image_size", [(20, 30), (60, 80), (100, 90)])
def test_squash_is_pillows_own_resize(image_size, resample):
    transform = preprocess.build("squash", image_size, resample=resample)
    kernel = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}[resample]
    expected = np.asarray(PICTURE.resize(image_size[::-1], kernel))
    np.testing.assert_array_equal(transform(PICTURE, RNG), expected)


@pytest.mark.parametrize("shape", [(512, 512), (512, 800), (800, 512)])
def test_resize_crop_is_resize_and_then_crop(shape):
    """The two steps that published evaluations take: short side to 256, then the middle 224 x 224."""
    large = PICTURE.resize(shape[::-1], PIL.Image.Resampling.BICUBIC)
    ours = preprocess.build("resize_crop", (224, 224))(large, RNG)
    height, width = shape[0] * 256 // min(shape), shape[1] * 256 // min(shape)
    resized = large.resize((width, height), PIL.Image.Resampling.BILINEAR)
    left, top = (width - 224) // 2, (height - 224) // 2
    theirs = np.asarray(resized.crop((left, top, left + 224, top + 224)))
    inner = (slice(2, -2), slice(2, -2))  # at the edge, only theirs sees beyond the crop
    assert np.abs(ours[inner].astype(int) - theirs[inner]).max() <= 1


def test_resize_crop_of_the_whole_and_of_another_shape():
    whole = preprocess.build("resize_crop", (60, 80), crop_ratio=1.0)
    np.testing.assert_array_equal(whole(PICTURE, RNG), PHOTO)
    columns = np.broadcast_to(np.arange(80, dtype=np.uint8)[None, :, None], (60, 80, 3))
    tall = preprocess.build("resize_crop", (60, 20), crop_ratio=1.0)(PIL.Image.fromarray(columns), RNG)
    np.testing.assert_array_equal(tall[0, :, 0], np.arange(30, 50))


def test_squash_may_keep_the_centre_alone():
    """DeiT's way in transformers: everything to 256 x 256, then the middle 224 x 224."""
    large = PICTURE.resize((800, 512), PIL.Image.Resampling.BICUBIC)
    ours = preprocess.build("squash", (224, 224), resample="bicubic", crop_ratio=0.875)(large, RNG)
    theirs = np.asarray(large.resize((256, 256), PIL.Image.Resampling.BICUBIC).crop((16, 16, 240, 240)))
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(ours[inner].astype(int) - theirs[inner]).max() <= 1


def test_inception_crops_keep_to_their_bounds():
    crop = preprocess.build("inception_crop", (8, 8), area=(0.2, 0.7), ratio=(0.5, 2.0))
    rng = np.random.default_rng(0)
    boxes = np.array([crop.draw_box(300, 400, rng) for _ in range(3000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= 400).all() and (boxes[:, 3] <= 300).all()
    area, ratio = width * height / (300 * 400), width / height
    assert 0.195 < area.min() < 0.22 and 0.66 < area.max() < 0.705
    assert 0.49 < ratio.min() < 0.55 and 1.9 < ratio.max() < 2.04
    # Every place is as likely: the middle of the crop lies in the middle of the image on average.
    np.testing.assert_allclose(boxes.mean(axis=0) @ [[0.5, 0], [0, 0.5], [0.5, 0], [0, 0.5]], [200, 150], atol=5)


def test_inception_areas_are_drawn_evenly():
    crop = preprocess.build("inception_crop", (8, 8), area=(0.1, 0.5), ratio=(1.0, 1.0))
    rng = np.random.default_rng(0)
    boxes = np.array([crop.draw_box(1000, 1000, rng) for _ in range(4000)])
    area = (boxes[:, 2] - boxes[:, 0]) ** 2 / 1e6
    np.testing.assert_allclose(np.quantile(area, [0.25, 0.5, 0.75]), [0.2, 0.3, 0.4], atol=0.012)


def test_inception_ratios_favour_neither_wide_nor_tall():
    crop = preprocess.build("inception_crop", (8, 8), area=(0.1, 0.2), ratio=(0.5, 2.0))
    rng = np.random.default_rng(0)
    boxes = np.array([crop.draw_box(1000, 1000, rng) for _ in range(4000)])
    ratio = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])
    np.testing.assert_allclose(np.log2(np.quantile(ratio, [0.25, 0.5, 0.75])), [-0.5, 0, 0.5], atol=0.06)


def test_an_inception_crop_that_never_fits_takes_the_middle():
    crop = preprocess.build("inception_crop", (8, 8), area=(1.0, 1.0), ratio=(0.75, 4 / 3))
    assert crop.draw_box(100, 1000, RNG) == (433, 0, 566, 100)
    assert crop.draw_box(1000, 100, RNG) == (0, 433, 100, 566)


def test_an_inception_crop_shows_its_box():
    crop = preprocess.build("inception_crop", (12, 10), flip=False)
    seed = 11
    box = crop.draw_box(60, 80, np.random.default_rng(seed))
    expected = PICTURE.resize((10, 12), PIL.Image.Resampling.BILINEAR, box)
    np.testing.assert_array_equal(crop(PICTURE, np.random.default_rng(seed)), np.asarray(expected))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("inception_crop", {"area": (1.0, 1.0)}), ("pad_crop", {"padding": 0}), ("random_crop", {"crop_ratio": 1.0})],
)
def test_every_second_image_is_mirrored(kind, options):
    square = np.ascontiguousarray(PHOTO[:, :60])
    rng = np.random.default_rng(0)
    if kind == "inception_crop":
        options = options | {"ratio": (1.0, 1.0)}
    crop = preprocess.build(kind, (60, 60), **options)
    crops = [crop(PIL.Image.fromarray(square), rng) for _ in range(400)]
    mirrored = [np.array_equal(image, square[:, ::-1]) for image in crops]
    assert all(m or np.array_equal(image, square) for m, image in zip(mirrored, crops, strict=True))
    assert 160 < sum(mirrored) < 240
    still = preprocess.build(kind, (60, 60), **options, flip=False)
    assert all(np.array_equal(still(PIL.Image.fromarray(square), rng), square) for _ in range(20))


def test_pad_crop_moves_the_image_by_up_to_its_padding():
    image = np.zeros((9, 11, 3), np.uint8)
    image[4, 5] = 255
    crop = preprocess.build("pad_crop", (9, 11), padding=2, flip=False)
    rng = np.random.default_rng(0)
    places = [tuple(np.argwhere(crop(PIL.Image.fromarray(image), rng)[..., 0] == 255)[0] - [4, 5]) for _ in range(600)]
    assert set(places) == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}
    assert max(places.count(place) for place in set(places)) < 50, "24 expected"


@pytest.mark.parametrize(
    ("squash", "rows", "columns"),
    [(False, 100, 100), (True, 100, 200)],  # half of the largest square in 200 x 400, or half of either side
)
def test_random_crops_lie_anywhere_and_have_one_size(squash, rows, columns):
    picture = np.zeros((200, 400, 3), np.uint8)
    picture[..., 0] = np.arange(200)[:, None]
    picture[..., 1] = np.arange(400)[None] // 2
    crop = preprocess.build("random_crop", (50, 50), crop_ratio=0.5, squash=squash, flip=False)
    rng = np.random.default_rng(0)
    crops = np.stack([crop(PIL.Image.fromarray(picture), rng) for _ in range(500)]).astype(float)
    height = (crops[:, -1, 0, 0] - crops[:, 0, 0, 0]) * 50 / 49
    width = (crops[:, 0, -1, 1] - crops[:, 0, 0, 1]) * 2 * 50 / 49
    np.testing.assert_allclose(height, rows, atol=2)
    np.testing.assert_allclose(width, columns, atol=4)
    tops, lefts = crops[:, 0, 0, 0] / (200 - rows), crops[:, 0, 0, 1] * 2 / (400 - columns)
    for places in (tops, lefts):
        np.testing.assert_allclose(
            np.quantile(places, [0.02, 0.25, 0.5, 0.75, 0.98]), [0.02, 0.25, 0.5, 0.75, 0.98], atol=0.08
        )


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("incepton_crop", {}, 'Did you mean "inception_crop"'),
        ("squash", {"flip": True}, 'reads no "flip"'),
        ("squash", {"resample": "bicubik"}, 'unknown resample "bicubik". Did you mean "bicubic"'),
        ("resize_crop", {"crop_ratio": 1.2}, "crop_ratio is 1.2"),
        ("random_crop", {"crop_ratio": 0.0}, "crop_ratio is 0.0"),
        ("inception_crop", {"area": (0.5, 0.1)}, "area is"),
        ("inception_crop", {"ratio": (2.0, 1.0)}, "ratio is"),
        ("pad_crop", {"padding": -1}, "padding is -1"),
        ("squash", {"image_size": (8,)}, "give \\(height, width\\)"),
        ("squash", {"image_size": (8, 0)}, "both at least 1"),
    ],
)
def test_options_that_make_no_sense(kind, options, message):
    with pytest.raises(UserError, match=message):
        preprocess.build(kind, **{"image_size": (8, 8)} | options)
