"""`data check`, as it is typed: what it prints, its exit code, the files that it writes."""

import json
import shlex

import flawed
import numpy as np
import PIL.Image
import pytest
from pages import Page

from vit_jax.__main__ import main
from vit_jax.data import sources
from vit_jax.data.check.findings import findings
from vit_jax.data.examples import Arrays
from vit_jax.tools import check, contact_sheet
from vit_jax.tools.contact_sheet import Row, Tile

LONG = "great grey owl, great gray owl, Strix nebulosa & <b>others</b>"


def plant(root, **splits):
    """Writes ten pictures of each class into each split's folder, no picture twice; returns the folder."""
    for place, (split, classes) in enumerate(splits.items()):
        for number, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for seed in range(10):
                image = flawed.picture(1_000 + 100 * place + 10 * number + seed)
                (root / split / name / f"{seed}.png").write_bytes(flawed.saved(image, compress_level=1))
    return root


def said(capsys, *arguments):
    """Returns the exit code, what was printed, and the errors."""
    code = main(["data", "check", *map(str, arguments), "--processes=1"])
    return code, *capsys.readouterr()


@pytest.fixture
def clean(tmp_path):
    return plant(tmp_path / "birds", train=["hawk", LONG.replace("/", "|")], test=["hawk"])


def test_clean_data_is_said_to_be_and_its_numbers_are_right(clean, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = said(capsys, f"--data={clean}")
    assert code == 0
    assert "hawk" in out and "1 warning" in out, "the owls are never examined"
    report = json.loads((tmp_path / "runs/data-check/birds/report.json").read_text())
    assert report["splits"]["train"]["classes"] == {LONG.replace("/", "|"): 10, "hawk": 10}
    assert report["splits"]["test"]["classes"] == {LONG.replace("/", "|"): 0, "hawk": 10}
    assert report["splits"]["train"]["height"] == [120, 120, 120]
    pixels = np.stack([np.asarray(PIL.Image.open(file)) for file in (clean / "train").rglob("*.png")]) / 255
    mean, std = pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))
    np.testing.assert_allclose(report["mean"], mean, atol=5.1e-5)
    np.testing.assert_allclose(report["std"], std, atol=5.1e-5)
    words = shlex.split(out[out.index("--config.value_range") :].splitlines()[0])  # a shell stops at a bare (
    assert words[0] == f"--config.value_range.mean=({','.join(f'{value:.4f}' for value in mean)})"
    assert '="(' in out
    assert not (tmp_path / "runs/data-check/birds/findings.png").exists(), "of classes there is no picture"


def test_an_empty_class_folder_is_an_error_that_is_listed(clean, tmp_path, capsys):
    (clean / "train" / "kite").mkdir()
    (clean / "train" / "hawk" / "grey.jpg").write_bytes(flawed.FILES["grey.jpg"])
    code, out, _ = said(capsys, f"--data={clean}", f"--out={tmp_path / 'out'}")
    assert code == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["splits"]["train"]["classes"]["kite"] == 0
    assert "kite" in out
    page = (tmp_path / "out" / "report.html").read_text()
    assert -1 < page.find("error: 1 class without an image in train") < page.find("note: 1 image grey")


def test_flaws_are_named_and_counted_and_end_with_one(clean, tmp_path, capsys):
    for name, content in flawed.FILES.items():
        (clean / "train" / "hawk" / name).write_bytes(content)
    leaked = flawed.COPIES["quality_50"](flawed.picture(1_003))
    (clean / "test" / "hawk" / "leaked.webp").write_bytes(flawed.saved(leaked, "WEBP", lossless=True))
    code, out, _ = said(capsys, f"--data={clean}", f"--out={tmp_path}/out")
    assert code == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = {told["kind"]: told for told in report["findings"]}
    assert {kind for kind in found if found[kind]["level"] == "error"} == {
        "not_an_image",
        "damaged",
        "too_large",
        "near_leakage",
    }
    assert report["errors"] == 4 and f"{report['warnings']} warnings" in out
    assert found["damaged"]["count"] == 2
    assert all("truncated" in name for row in found["damaged"]["images"] for name in row)
    assert found["animated"]["images"] == [[f"train: {clean}/train/hawk/animated.gif"]]
    (pair,) = found["near_leakage"]["images"]
    assert [name.partition(": ")[0] for name in pair] == ["train", "test"] and "leaked.webp" in pair[1]
    for told in report["findings"]:
        assert f"{told['count']:,} {told['says']}" in out and told["remedy"] in out
    assert "\n" not in " ".join(name for told in report["findings"] for row in told["images"] for name in row)


def test_the_page_stands_alone_and_shows_every_finding(clean, tmp_path, capsys):
    for name, content in flawed.FILES.items():
        (clean / "train" / "hawk" / name).write_bytes(content)
    said(capsys, f"--data={clean}", f"--out={tmp_path}/out")
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page(text)
    assert page.open == [] and "b" in page.tags and "others" not in page.tags
    assert page.fetched and all(address.startswith("data:image/png;base64,") for address in page.fetched)
    assert "<b>others" not in text, "a class is a word, not HTML"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert all(f"{told['count']:,} {told['says']}" in text for told in report["findings"])
    for name in ("classes.png", "findings.png"):
        with PIL.Image.open(tmp_path / "out" / name) as image:
            image.load()
            assert image.width == 2 * contact_sheet.MARGIN + 8 * contact_sheet.TILE + 7 * contact_sheet.GAP


def test_a_config_names_source_splits_and_size(tmp_path, capsys):
    config = ["--config=configs/scratch.py", "--config.source={'kind': 'digits'}", f"--out={tmp_path}"]
    digits = [*config, "--config.train.split=train", "--config.evaluate.split=val"]
    code, out, _ = said(capsys, *digits, "--alike=1.01", "--json")
    report = json.loads(out)
    assert code == 0
    assert {split: told["images"] for split, told in report["splits"].items()} == {"train": 1_097, "val": 200}
    assert {told["kind"]: told["count"] for told in report["findings"]} == {"grey": 1_297, "enlarged": 1_297}
    code, out, _ = said(capsys, *config, "--splits=train[:50],train[20:60],test", "--alike=1.01", "--json")
    report = json.loads(out)
    assert list(report["splits"]) == ["train[:50]", "train[20:60]", "test"] and code == 1
    leaks = [told for told in report["findings"] if told["kind"] == "leakage"]
    assert [told["says"] for told in leaks] == ["pairs of copies in train[:50] and train[20:60]"]
    assert leaks[0]["count"] == 30


def test_a_class_that_only_the_examination_has_is_an_error(monkeypatch):
    """Splits may come with classes of their own: labels are then counted in those of both."""
    images = np.zeros((2, 8, 8), np.uint8)
    splits = {"train": Arrays(images, [0, 1], ["cat", "dog"]), "test": Arrays(images, [1, 0], ["dog", "emu"])}
    monkeypatch.setitem(sources.SOURCES, "held", lambda split: splits[split])
    opened = check.open_splits({"kind": "held"}, ("train", "test"))
    assert opened["train"].class_names == opened["test"].class_names == ("cat", "dog", "emu")
    assert [example.label for example in opened["test"]] == [2, 1]
    surveys = check.read(opened, 1)
    empty = [each for each in findings(surveys, ("cat", "dog", "emu")) if each.kind == "empty_class"]
    assert [(each.level, each.classes) for each in empty] == [("error", ["emu"]), ("warning", ["cat"])]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "give either --data=FOLDER or --config=FILE"),
        (["--data=here", "--config=configs/scratch.py"], "give either --data=FOLDER or --config=FILE"),
        (["--data=absent"], '"absent" does not exist; give a folder of images'),
        (["--data=.", "--outt=x"], 'no option "--outt". Did you mean "--out"?'),
        (["--config=configs/scratch.py", "--config.sorce.path=x"], 'Did you mean "source"'),
        (["--config=configs/scratch.py", "--config.source={'kind': 'digits'}", "--splits=trian"], 'mean "train"'),
        (["--data=.", "--alike=0.1"], "--alike is a correlation of 0.5 or more; got 0.1"),
    ],
)  # fmt: skip
def test_a_typing_mistake_is_a_line_and_a_two(capsys, tmp_path, arguments, line):
    code, out, err = said(capsys, *arguments, *([] if "--outt=x" in arguments else [f"--out={tmp_path}"]))
    assert code == 2 and out == ""
    assert line in err and err.count("\n") == 1


@pytest.mark.slow
def test_the_report_is_the_same_whatever_the_number_of_processes(tmp_path, capsys):
    for seed in range(600):
        folder = tmp_path / "data" / f"class {seed % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{seed}.png").write_bytes(flawed.saved(flawed.picture(seed % 590, 24, 20)))
    for name, content in flawed.FILES.items():
        (tmp_path / "data" / "class 0" / name).write_bytes(content)
    for processes in (1, 3):
        arguments = [f"--data={tmp_path}/data", "--splits=all", f"--out={tmp_path}/{processes}"]
        assert main(["data", "check", *arguments, f"--processes={processes}"]) == 1
    for name in ("report.json", "classes.png", "findings.png"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_a_tile_shows_the_whole_picture_whatever_its_shape():
    for width, height in ((1, 1), (1, 900), (900, 1), (40, 30), (3_000, 2_000)):
        tile = np.asarray(contact_sheet.fitted(PIL.Image.new("RGB", (width, height), "red")))
        assert tile.shape == (contact_sheet.TILE, contact_sheet.TILE, 3)
        rows, columns = np.nonzero((tile == (255, 0, 0)).all(axis=-1))
        shown = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert contact_sheet.TILE // 2 < max(shown) <= contact_sheet.TILE
        assert shown[0] / shown[1] == pytest.approx(height / width, rel=0.02) or min(shown) == 1


def test_words_stay_on_the_sheet():
    """However long they are: the margins stay white."""
    row = Row("long " * 99, [Tile((None,), "name" * 99 + "\n" + "w" * 99)] * 9, "note " * 99)
    pixels = np.asarray(contact_sheet.sheet([row, row]))
    assert (pixels[:, : contact_sheet.MARGIN] == 255).all() and (pixels[:, -contact_sheet.MARGIN + 1 :] == 255).all()
    font = contact_sheet.font(contact_sheet.CAPTION)
    assert contact_sheet.shortened("train: cat/a-rather-long-name-0042.png", font, 112).endswith("0042.png")
    assert contact_sheet.shortened("cat", font, 112) == "cat"
