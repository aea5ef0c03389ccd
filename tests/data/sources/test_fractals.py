import time

import numpy as np
import pytest

from vit_jax.data import sources
from vit_jax.data.sources.fractals import Fractals
from vit_jax.errors import UserError


def images(source):
    return np.stack([example.image for example in source]).astype(np.float32)


def test_an_image_depends_on_seed_and_index_alone():
    forwards, backwards = Fractals(4, 3, (16, 16), seed=1), Fractals(4, 3, (16, 16), seed=1)
    last_first = [backwards[index].image for index in reversed(range(12))][::-1]
    np.testing.assert_array_equal(images(forwards), last_first)
    assert [example.label for example in forwards] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert np.abs(images(forwards) - images(Fractals(4, 3, (16, 16), seed=2))).mean() > 20


def figures(source):
    """Where the figure lies, whatever its colour; the first corner is taken for the ground."""
    return (np.abs(images(source) - images(source)[:, :1, :1]).mean(axis=-1) > 30).reshape(len(source), -1)


def recognised(examined, known):
    """The part of the examined that is nearest to the mean figure of their own class among the known."""
    means = figures(known).reshape(known.classes, known.per_class, -1).mean(axis=1)
    distance = ((figures(examined)[:, None] - means) ** 2).sum(axis=-1)
    return (distance.argmin(axis=-1) == [example.label for example in examined]).mean()


def test_splits_show_the_same_classes_in_other_instances():
    options = {"classes": 30, "per_class": 12, "image_size": (16, 16)}
    train, val = (sources.build("fractals", split, **options) for split in ("train", "val"))
    assert train.class_names == val.class_names
    assert not (images(train) == images(val)).all(axis=(1, 2, 3)).any()
    assert recognised(val, train) > 0.2, "chance is 0.03"
    assert recognised(val, sources.build("fractals", "train", seed=1, **options)) < 0.1, "other seeds, other classes"


def test_no_image_is_flat_or_empty():
    source = Fractals(40, 5, (24, 32), seed=7)
    assert source[0].image.shape == (24, 32, 3)
    spread = images(source).std(axis=(1, 2)).max(axis=-1)
    assert spread.min() > 8
    assert not (images(source)[1:] == images(source)[:-1]).all(axis=(1, 2, 3)).any()


def test_paint_changes_the_colours_alone():
    coloured, grey = Fractals(10, 4, (24, 24)), Fractals(10, 4, (24, 24), paint="glow")
    shades = images(grey)
    assert (shades == shades[..., :1]).all()
    ground = shades.min(axis=(1, 2, 3))
    assert ground.max() <= 40 and shades.max(axis=(1, 2, 3)).min() >= 160
    drawn = (shades > ground[:, None, None, None]).any(axis=-1)
    background = images(coloured)[~drawn]  # a single colour an image, wherever nothing was drawn
    which = np.nonzero(~drawn)[0]
    assert all(np.ptp(background[which == number], axis=0).max() == 0 for number in range(40))


def test_a_quick_run_does_not_wait_for_its_fractals():
    """200 classes of 40 must take seconds: 20 classes here, in a tenth of the time and a wide margin."""
    source = Fractals(20, 40, (24, 24))
    started = time.process_time()
    for index in range(0, len(source), 40):
        source[index]
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "cannot draw 0 classes"),
        ({"image_size": (8,)}, "height, width"),
        ({"split": "test"}, 'no split "test"'),
        ({"paint": "glwo"}, 'unknown paint "glwo". Did you mean "glow"'),
    ],
)
def test_fractals_that_cannot_be_drawn(options, message):
    with pytest.raises(UserError, match=message):
        Fractals(**{"classes": 2, "per_class": 2, "image_size": (8, 8)} | options)


def test_an_index_beyond_the_end():
    with pytest.raises(IndexError):
        Fractals(2, 2, (8, 8))[4]
