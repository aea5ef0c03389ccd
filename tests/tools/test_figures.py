"""The figures of a model: files that hold what was measured, a page that stands alone, a line for each mistake."""

import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import small
from pages import Page

from vit_jax.__main__ import main
from vit_jax.data import sources
from vit_jax.evaluate import inspect
from vit_jax.evaluate.survey import Attended, Survey
from vit_jax.tools import charts, exhibits
from vit_jax.train import start

PICTURES = ["filters.png", "positions.svg", "attention_distance.svg", "token_norms.svg", "attention_rollout.png"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits of three steps."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    outcome, said = small.train(folder, steps=3, evaluate__every=0)
    assert outcome.exit_code == 0, said
    return folder


@pytest.fixture(scope="module")
def written(run: Path) -> Path:
    """What the command writes for 20 of the run's own images."""
    assert main(["figures", f"--workdir={run}", "--limit=20", "--batch-size=8"]) == 0
    return run / "figures"


def test_every_figure_is_a_file(written: Path):
    assert sorted(file.name for file in written.iterdir()) == sorted([*PICTURES, "figures.json", "figures.html"])
    for file in written.glob("*.png"):
        with PIL.Image.open(file) as image:
            image.load()
            assert min(image.size) > 50
    for file in written.glob("*.svg"):
        drawn = Page(file.read_text())
        assert drawn.open == [] and "svg" in drawn.tags
        assert all(address.startswith("data:image/png;base64,") for address in drawn.fetched)


def test_the_page_is_whole_and_fetches_nothing(written: Path):
    text = (written / "figures.html").read_text()
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "base"}
    assert page.fetched and all(address.startswith("data:image/png;base64,") for address in page.fetched)
    assert not re.search(r"url\(|@import|\$", text)
    assert all(file in text for file in PICTURES)
    assert "20 of 200 images that the run was evaluated on (digits, val); 8 × 8 pixels" in text


def test_the_numbers_are_the_pure_functions_of_the_same_images(run: Path, written: Path):
    numbers = json.loads((written / "figures.json").read_text())
    assert (numbers["images"], numbers["grid"], numbers["image_size"]) == (20, [2, 2], [8, 8])

    trained, digits = start.trained(str(run)), sources.build("digits", "val")
    chosen = np.round(np.linspace(0, 199, 20)).astype(int).tolist()
    pixels = np.stack([np.repeat(np.asarray(digits[index].image)[..., None], 3, axis=-1) for index in chosen])
    images = jnp.asarray((pixels / 255 - 0.5) / 0.5, jnp.float32)
    kept = inspect.intermediates(trained.model, trained.parameters, images)
    weights = kept["encoder/block00/attention/weights"]
    distances = inspect.attention_distance(weights, (2, 2), (4.0, 4.0)).mean(axis=0)
    found = numbers["attention_distance"]
    np.testing.assert_allclose(found["pixels_by_block_and_head"], distances[None], rtol=1e-4)
    assert found["uniform_attention"] == pytest.approx((0 + 4 + 4 + 4 * 2**0.5) / 4)

    for layer, tokens in (("embedded", kept["embedded"]), ("encoder/block00", kept["encoder/block00/output"])):
        lengths = np.linalg.norm(tokens, axis=-1)
        expected = {"mean": lengths[:, 1:].mean(), "largest": lengths[:, 1:].max(), "class_token": lengths[:, 0].mean()}
        assert numbers["token_norms"][layer] == pytest.approx(expected, rel=1e-4)


def test_images_are_given_by_file_and_folder(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "folder").mkdir()
    for name in ("a <b>.png", "folder/c.png"):
        PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8)).save(
            tmp_path / name
        )
    given = [str(tmp_path / "a <b>.png"), str(tmp_path / "folder")]
    assert main(["figures", f"--workdir={run}", *given, f"--output={tmp_path / 'out' / 'here'}"]) == 0
    assert str(tmp_path / "out" / "here" / "figures.html") in capsys.readouterr().out
    page = (tmp_path / "out" / "here" / "figures.html").read_text()
    assert "a &lt;b&gt;.png" in page and "c.png" in page and "<b>" not in page
    assert "2 given images" in page
    assert json.loads((tmp_path / "out" / "here" / "figures.json").read_text())["images"] == 2


def test_a_wrong_word_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "file").touch()
    for arguments, message in [
        ([], "--workdir"),
        ([f"--workdir={tmp_path}"], "no good checkpoint in"),
        ([f"--workdir={tmp_path / 'absent.npz'}"], "absent.npz"),
        ([f"--workdir={run}", str(tmp_path / "absent.png")], 'absent.png" does not exist'),
        ([f"--workdir={run}", str(tmp_path / "empty")], "there is no image in"),
        ([f"--workdir={run}", str(tmp_path / "text.png"), f"--output={tmp_path / 'out'}"], "not an image"),
        ([f"--workdir={run}", "--limit=0"], "--limit is at least 1; got 0"),
        ([f"--workdir={run}", "--batch-size=0"], "at least 1"),
        ([f"--workdir={run}", f"--output={tmp_path / 'file' / 'out'}"], "choose another --output"),
        ([f"--workdir={run}", "--ouput=x"], 'Did you mean "--output"?'),
    ]:
        assert main(["figures", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.startswith("error: ") and error.count("\n") == 1, error


def surveyed(**changes) -> Survey:
    rng = np.random.default_rng(0)
    attended = {
        "grid": (3, 5),
        "patch": (4.0, 2.0),
        "distances": np.array([[1.0, 2.0], [3.0, 5.0], [4.0, 4.5]]),
        "uniform": 4.2,
        "maps": rng.dirichlet(np.ones(15), 2).reshape(2, 3, 5),
        "similarity": rng.uniform(-1, 1, (3, 5, 3, 5)),
        "positions": "learned",
    }
    return Survey(
        images=9,
        image_size=(12, 10),
        filters=rng.random((6, 4, 2, 3)),
        kernel="patch_embedding/kernel",
        norms={name: {"mean": 1.0, "largest": 8.0, "class_token": 2.0} for name in ("embedded", "encoder/block00")},
        shown=rng.integers(0, 256, (2, 12, 10, 3)).astype(np.uint8),
        attended=Attended(**attended | changes),
    )


def test_every_head_has_its_dot_where_its_distance_lies():
    drawn = exhibits.distances(surveyed()).shown
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)[1:]  # the first is the legend's
    ys = [float(y) for _, y in dots]
    zero, highest = charts.HEIGHT - charts.BOTTOM, charts.TOP  # of an axis from 0 to 6
    expected = [zero + (highest - zero) * distance / 6 for distance in (1, 2, 3, 5, 4, 4.5)]
    np.testing.assert_allclose(ys, expected, atol=0.06)
    assert len({x for x, _ in dots}) == 3
    caption = exhibits.distances(surveyed()).caption
    assert "head 1 of block 1 (1.0 pixels)" in caption and "head 2 of block 2 (5.0)" in caption


def test_what_a_model_lacks_is_said():
    assert "a bag of patches" in exhibits.positions(surveyed(similarity=None, positions="none")).caption
    assert "turns queries and keys" in exhibits.positions(surveyed(similarity=None, positions="rotary")).caption
    assert "not learned" in exhibits.positions(surveyed(positions="sincos2d")).caption
    convolutional = Survey(
        **{**vars(surveyed()), "attended": None, "norms": {"stage1/unit01": {"mean": 1.0, "largest": 2.0}}}
    )
    for exhibit in (exhibits.positions, exhibits.distances):
        assert exhibit(convolutional).file == "" and "no attention" in exhibit(convolutional).caption
    assert exhibits.attention(convolutional, ["a", "b"]).file == ""
    assert (
        "after unit" in exhibits.norms(convolutional).shown and "class token" not in exhibits.norms(convolutional).shown
    )
    assert "patch" not in exhibits.norms(convolutional).section
    assert exhibits.filters(convolutional).content.startswith(b"\x89PNG")


def test_a_large_grid_shows_some_of_its_places():
    every = np.ones((24, 16, 24, 16))
    drawn = exhibits.positions(surveyed(grid=(24, 16), similarity=every))
    assert "one in 3 each way" in drawn.caption
    rows = re.findall(r'text-anchor="end">(\d+)<', drawn.shown)
    columns = re.findall(r'text-anchor="middle">(\d+)<', drawn.shown)
    assert (rows, columns) == ([str(n) for n in range(2, 25, 3)], [str(n) for n in range(1, 17, 3)])


@pytest.mark.parametrize(
    ("shape", "expected"), [((8, 8), (128, 128)), ((96, 64), (192, 128)), ((512, 1024), (256, 512))]
)
def test_images_are_shown_large_enough_and_not_too_large(shape, expected):
    assert exhibits.sized(np.zeros((*shape, 3), np.uint8)).shape == (*expected, 3)
