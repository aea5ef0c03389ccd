"""The report: counts that add up, a page that stands alone, numbers that come from the results."""

import csv
import re

import numpy as np
import pytest
from pages import Page
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier

from vit_jax.tools import charts, gallery, pictures, report
from vit_jax.tools.findings import Answers, Budget, Curve, Inside, Share, nearest_neighbour, some_of_each


def answers(seed: int = 0, images: int = 40) -> Answers:
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, 10, (2, images))
    predicted = np.where(rng.random(images) < 0.8, true, predicted)
    return Answers(
        images=rng.integers(0, 256, (images, 24, 24, 3)).astype(np.uint8),
        names=[f"digits test[{index}]" for index in range(images)],
        true=true,
        predicted=predicted,
        probability=rng.uniform(0.1, 1, images),
        class_names=tuple("012345678<"),
    )


BUDGETS = [
    Budget(100, Share(0.811, 500), Share(0.633, 500), Share(0.927, 500), *[Curve([25, 50], [2.3, 1.1])] * 2),
    Budget(1097, Share(0.951, 500), Share(0.907, 500), Share(0.979, 500), *[Curve([25, 50], [2.2, 0.9])] * 2),
]


@pytest.fixture(scope="module")
def page() -> str:
    rng = np.random.default_rng(1)
    grids = [rng.uniform(-1, 1, (n, n, n, n)) for n in (4, 6, 6)]
    looked = Inside((rng.random((12, 4, 4, 1)),) * 2, (grids[0], grids[1], grids[2]), rng.random((3, 6, 6)))
    names = ("parameters", "depth", "width", "patch", "fractal_classes", "fractal_images", "small", "large", "command")
    return report.page(
        BUDGETS,
        Curve([50, 100], [5.1, 4.2]),
        Share(0.1234, 800),
        answers(),
        np.arange(3),
        looked,
        rng.integers(0, 256, (12, 24, 24, 3)).astype(np.uint8),
        facts={name: f"the {name}" for name in names},
        environment={"python": "<3>"},
        configs={"pretrain": {"steps": 7}},
    )


def test_the_page_is_whole_and_fetches_nothing(page):
    read = Page(page)
    assert read.open == []
    assert not read.tags & {"script", "link", "iframe", "object", "embed", "base"}
    assert read.fetched and all(address.startswith("data:image/png;base64,") for address in read.fetched)
    assert not re.search(r"url\(|@import", page)


def test_the_page_escapes_what_it_is_given(page):
    assert "&lt;3&gt;" in page and "<3>" not in page
    assert "<th>&lt;</th>" in page


def test_every_number_of_the_table_comes_from_the_results():
    shares = [share for budget in BUDGETS for share in (budget.fine_tuned, budget.scratch, budget.neighbour)]
    wanted = {"100", "1,097"}
    for share in shares:
        wanted |= {f"{value:.1%}" for value in (share.right, *share.interval)}
    table = report.results(BUDGETS)
    found = set(re.findall(r"[\d,.]+%|(?<=<td>)[\d,]+", table[table.index("<tbody>") : table.index("</tbody>")]))
    assert found == wanted
    assert len(found) == 2 + 3 * len(shares)


def test_the_text_says_what_was_found(page):
    for words in ("<b>81.1%</b> of 500", "<b>63.3%</b>", "+17.8 points with 100 labels", "50 steps", "12.3% of 800"):
        assert words in page
    assert f"{(answers().predicted != answers().true).sum()} of 40 test digits" in page
    assert "It reaches 92.7% with 100 labels" in page


def test_confusion_is_sklearns_and_adds_up():
    said = answers(images=300)
    np.testing.assert_array_equal(said.confusion, confusion_matrix(said.true, said.predicted, labels=range(10)))
    cells = [int(cell) for cell in Page(gallery.confusion(said)).cells if cell]
    assert sum(cells) == 300
    assert said.confusion.trace() == (said.true == said.predicted).sum()


def test_predictions_are_written_one_a_line(tmp_path):
    said = answers()
    said.write(tmp_path / "predictions.csv")
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == said.names
    assert [row["true"] for row in rows] == [said.class_names[label] for label in said.true]
    assert [row["predicted"] for row in rows] == [said.class_names[label] for label in said.predicted]
    np.testing.assert_allclose([float(row["probability"]) for row in rows], said.probability, atol=1e-6)


@pytest.mark.parametrize("kind", ["wrong", "right"])
def test_digits_are_shown_with_what_was_said(kind):
    said = answers()
    which = np.flatnonzero((said.predicted == said.true) == (kind == "right"))
    shown = Page(gallery.said(said, which, kind, most=500))
    assert len(shown.fetched) == len(which)
    assert gallery.said(said, which[:0], kind) == "<p>None.</p>"


def test_the_nearest_neighbour_is_sklearns():
    images, labels = load_digits(return_X_y=True)
    images = (images * 15).astype(np.uint8)
    known, asked = slice(0, 300), slice(300, 900)
    wanted = KNeighborsClassifier(1, algorithm="brute").fit(images[known].astype(float), labels[known])
    found = nearest_neighbour(images[known].reshape(-1, 8, 8), labels[known], images[asked].reshape(-1, 8, 8))
    np.testing.assert_array_equal(found, wanted.predict(images[asked].astype(float)))


def test_black_and_white_are_far_apart():
    black, white = np.zeros((1, 4, 4), np.uint8), np.full((1, 4, 4), 255, np.uint8)
    labels = nearest_neighbour(np.concatenate([black, white]), np.array([7, 3]), np.concatenate([white, black]))
    assert labels.tolist() == [3, 7]


def test_some_of_each_class():
    assert some_of_each(np.array([1, 0, 1, 2, 1, 0]), 2).tolist() == [1, 5, 0, 2, 3]


def test_curves_are_drawn_where_their_numbers_lie():
    drawn = charts.lines([charts.Line("a", [0, 50, 100], [0.0, 1.0, 2.0], charts.BLUE)], "step", "loss")
    (points,) = re.findall(r'points="([^"]*)"', drawn)
    xs, ys = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    np.testing.assert_allclose(
        xs, [charts.LEFT, (charts.LEFT + charts.WIDTH - charts.RIGHT) / 2, charts.WIDTH - charts.RIGHT]
    )
    np.testing.assert_allclose(
        ys, [charts.HEIGHT - charts.BOTTOM, (charts.HEIGHT - charts.BOTTOM + charts.TOP) / 2, charts.TOP]
    )


def test_colours_run_from_dark_blue_to_yellow():
    colours = pictures.coloured(np.array([[-1.0, 1.0]]), -1.0, 1.0)
    assert colours.tolist() == [[[0x00, 0x22, 0x4E], [0xFE, 0xE8, 0x38]]]


def test_a_mosaic_keeps_every_tile():
    tiles = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    page = pictures.mosaic(tiles, 2, gap=1, magnify=2)
    assert page.shape == (9, 9, 3)
    assert [page[0, 0, 0], page[0, 5, 0], page[5, 0, 0], page[5, 5, 0], page[4, 4, 0]] == [0, 1, 2, 255, 255]
