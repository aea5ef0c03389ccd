"""The commands as they are typed: what they print, and a line and exit code 2 for each way to get them wrong."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import PIL.Image
import pytest
import small

from vit_jax import models
from vit_jax.__main__ import main
from vit_jax.models import counts
from vit_jax.weights import google
from vit_jax.weights.loaded import Loaded
from vit_jax.weights.recipe import Recipe

REPOSITORY = Path(__file__).parents[2]


def write_config(folder: Path, **changes) -> Path:
    """Writes the small experiment as a config file."""
    config = small.config(**changes)
    fields = {name: getattr(config, name) for name in small.FIELDS}
    file = folder / "small_config.py"
    file.write_text(f"from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({fields!r})\n")
    return file


def images(folder: Path, *classes: str, count: int = 4) -> Path:
    """Makes a folder of class folders, each class of one colour."""
    draw = np.random.default_rng(0)
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((9, 9, 3), 60 * place + 40) + draw.integers(0, 9, (9, 9, 3))
            PIL.Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained on three colours."""
    folder = tmp_path_factory.mktemp("colours")
    images(folder / "data", "black", "grey", "white", count=16)
    config = write_config(
        folder,
        source={"kind": "folder", "path": str(folder / "data")},
        train__split="all",
        evaluate__split="all",
        evaluate__batch_size=16,
        steps=30,
        evaluate__every=0,
        objective__mixup=0.0,
        model__dropout=0.0,
    )
    assert main(["train", f"--config={config}", f"--workdir={folder / 'run'}"]) == 0
    return folder / "run"


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_predict_names_every_image_in_each_format(run: Path, capsys: pytest.CaptureFixture[str]):
    data = run.parent / "data"
    arguments = ["predict", f"--workdir={run}", str(data / "white"), str(data / "black" / "0.png"), "--top=2"]
    rows = json.loads(output(capsys, *arguments, "--format=json"))
    assert [Path(row["file"]).parent.name for row in rows] == ["white"] * 16 + ["black"]
    assert [row["classes"][0]["name"] for row in rows] == ["white"] * 16 + ["black"]
    assert all(len(row["classes"]) == 2 for row in rows)
    table = list(csv.DictReader(io.StringIO(output(capsys, *arguments, "--format=csv"))))
    assert [float(line["probability"]) for line in table[::2]] == pytest.approx(
        [row["classes"][0]["probability"] for row in rows], abs=1e-6
    )
    everything = json.loads(output(capsys, *arguments, "--format=json", "--top=3"))
    for row in everything:
        assert sum(each["probability"] for each in row["classes"]) == pytest.approx(1, abs=1e-5)
    assert "white" in output(capsys, *arguments)


def test_a_name_in_brackets_is_printed_as_it_is(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "x [").mkdir()
    PIL.Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "x [" / "b] [copy].png")
    (tmp_path / "._hidden.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    assert "x [/b] [copy].png" in output(capsys, "predict", f"--workdir={run}", ".")


def test_a_probability_does_not_depend_on_the_batch(run: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["predict", f"--workdir={run}", str(run.parent / "data" / "grey"), "--format=json"]
    one, other = (json.loads(output(capsys, *arguments, f"--batch-size={size}")) for size in (8, 9))
    assert [row["classes"][0]["probability"] for row in one] == pytest.approx(
        [row["classes"][0]["probability"] for row in other], rel=1e-5
    )


def test_evaluate_says_what_the_run_said(run: Path, capsys: pytest.CaptureFixture[str]):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    result = json.loads(output(capsys, "evaluate", f"--workdir={run}", "--json"))
    assert result["seen"] == 48
    for name in ("top1", "top5", "loss"):
        assert result[name] == pytest.approx(lines[-1][f"evaluation/{name}"], rel=1e-5)
    said = output(capsys, "evaluate", f"--workdir={run}")
    assert "top-1" in said and "95% interval" in said and "top-5" in said and "48 images" in said


def test_evaluate_on_other_images_goes_by_the_names_of_classes(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    images(tmp_path / "wrong", "white", count=8)  # the first class is black's colour
    result = json.loads(output(capsys, "evaluate", f"--workdir={run}", f"--data={tmp_path / 'wrong'}", "--json"))
    assert (result["seen"], result["top1"]) == (8, 0.0)
    own = output(capsys, "evaluate", f"--workdir={run}", "--json")
    assert output(capsys, "evaluate", f"--workdir={run}", f"--data={run.parent / 'data'}", "--json") == own


def test_classes_without_names_go_by_their_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    golden = dict(np.load(REPOSITORY / "tests" / "golden" / "vit_class_token.npz"))
    weights = {key.removeprefix("weights/"): array for key, array in golden.items() if key.startswith("weights/")}
    np.savez(tmp_path / "seven.npz", **weights)
    images(tmp_path / "data", "black", "white")
    place = f"--workdir={tmp_path / 'seven.npz'}"
    rows = json.loads(output(capsys, "predict", place, str(tmp_path / "data"), "--top=1", "--format=json"))
    found = {Path(row["file"]).parent.name: row["classes"][0]["name"] for row in rows}
    for colour, number in (("black", found["black"]), ("white", str((int(found["white"]) + 1) % 7))):
        (tmp_path / "data" / colour).rename(tmp_path / "data" / number)
    data = f"--data={tmp_path / 'data'}"
    assert json.loads(output(capsys, "evaluate", place, data, "--json"))["top1"] == 0.5
    (tmp_path / "data" / "7").mkdir()
    (tmp_path / "data" / found["black"]).rename(tmp_path / "data" / "7" / "more")
    assert "not trained on the class 7; it knows 7 (0, 1, 2, 3, 4, …)" in complaint(capsys, "evaluate", place, data)


def test_models_counts_as_the_paper_does(capsys: pytest.CaptureFixture[str]):
    said = output(capsys, "models", "B/16", "L/16")
    for word in ("86,567,656", "86M", "304,326,632", "307M"):
        assert word in said
    assert 'unknown model size "Q/16"' in complaint(capsys, "models", "Q/16")


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    return error


def test_a_section_is_replaced_whole_and_then_by_its_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--config.source={'kind': 'folder', 'path': 'here'}", "--config.source.path=there"]
    said = output(capsys, "train", f"--config={write_config(tmp_path)}", "--print-config", *words)
    assert json.loads(said)["source"] == {"kind": "folder", "path": "there"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--config.stps=3", 'no config field "config.stps". Did you mean "steps"?'),
        ("--config.model.witdh=3", 'no config field "config.model.witdh"'),
        ("--config.model.size.witdh=3", 'Did you mean "width"?'),
        ("--config.steps.x=3", "config.steps is not a section"),
        ("--config.model=3", "config.model is a section; set one of its fields: activation"),
        ("--config.optimizer={'name': 'sgd', 'peak_learning_rate': '0.1', 'schedule': {}}", "is a number; got '0.1'"),
        (
            "--config.optimizer={'name': 'sgd', 'peak_learning_rate': 0.1, 'schedule': 'cosine'}",
            "schedule is a section",
        ),
        ("--config.model={'size': 5}", "config.model.size is a word or a section; got 5"),
        ("--config.source={1: 2}", "config.source is a section"),
        ("--config.steps=many", "config.steps wants a whole number, like 6; got 'many'"),
        ("--config.steps=1e400", "wants a whole number"),
        ("--config.optimizer.peak_learning_rate=1e999", "wants a number"),
        ("--workdir=gs://bucket/run", "is an address; give a folder"),
        ("--config.steps=2.5", "wants a whole number"),
        ("--config.steps=true", "wants a whole number"),
        ("--config.image_size=8", "wants 2 values in parentheses, like (8, 8); got '8'"),
        ("--config.image_size=(8,8,8)", "wants 2 values"),
        ("--config.optimizer.weight_decay=a", "wants a number"),
        (
            "--config.optimizer.rates=(('haed/.*',0),)",
            'optimizer.rates: "haed/.*" matches no parameter; near it are head',
        ),
        ("--config.steps", "--config.steps has no value; write --config.steps=VALUE"),
        ("config.steps=3", 'unexpected argument "config.steps=3"; did you mean --config.steps=3?'),
        ("--confg.steps=3", 'no option "--confg.steps"'),
        ("--wrkdir=x", 'no option "--wrkdir". Did you mean "--workdir"?'),
        ("--config.steps=0", "config.steps is at least 1; got 0"),
        ("--config.image_size=(9,8)", "image 9x8 does not divide into patches of 4x4; resize it or"),
        ("--config.model.activation=relu", 'unknown activation "relu"'),
        ("--config.weights.path=none.npz", "none.npz"),
        ("--config.source.kind=folders", 'Did you mean "folder"?'),
        ("--config.evaluate.split=tset", 'Did you mean "test"?'),
    ],
)
def test_a_wrong_word_is_one_line(word: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = write_config(tmp_path)
    assert message in complaint(capsys, "train", f"--config={file}", f"--workdir={tmp_path / 'run'}", word)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--config is wanted, as in --config=configs/scratch.py"),
        (
            ("--config=configs/scrach.py",),
            'there is no config file "configs/scrach.py". Did you mean "configs/scratch.py"',
        ),
        (("--config=nowhere/x.py",), 'there is no config file "nowhere/x.py"'),
        (("--config=configs/pretrain.py:b17,jft",), 'unknown model "b17". Did you mean "b16"?'),
        (("--config=configs/pretrain.py:h14,imagenet2012",), "the paper has no recipe for h14 on imagenet2012"),
        (("--config=configs/finetune.py:b16,cifar",), 'unknown data "cifar". Did you mean "cifar10"?'),
    ],
)
def test_a_wrong_config_is_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(REPOSITORY)
    assert message in complaint(capsys, "train", *arguments)


@pytest.mark.parametrize(
    ("action", "words", "message"),
    [
        ("hash", ["--first=-1"], "--first is -1 and --steps 100; give 0 or more"),
        ("hash", ["--steps=-1"], "--steps -1; give 0 or more"),
        ("hash", ["--parts=0"], "give --parts that the hosts divide"),
        ("hash", ["--config.source={'path': 'x'}"], "config.source: missing a required argument: 'kind'"),
        ("check", ["--config.source={'path': 'x'}"], "config.source: missing a required argument: 'kind'"),
        ("check", ["--config.source.path="], "no path; say where it is, as in --config.source.path=FOLDER"),
    ],
)
def test_a_mistake_beside_data_is_one_line(action: str, words: list[str], message: str, capsys):
    assert message in complaint(capsys, "data", action, "--config=configs/scratch.py", *words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:\n", "broken.py, line 1: SyntaxError"),
        ("x = 1\ndef get_config():\n    return unknown\n", "broken.py, line 3: NameError: name 'unknown'"),
        ("", "AttributeError"),
        ("def get_config():\n    return {}\n", "returns dict; a ConfigDict was wanted"),
    ],
)
def test_a_broken_config_is_one_line(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "broken.py").write_text(text)
    assert message in complaint(capsys, "train", f"--config={tmp_path / 'broken.py'}")


NARROW = {"size": {"width": 8, "depth": 1, "mlp_hidden": 24, "heads": 2, "patch": [4, 4]}, "classes": 10}
RECIPE = Recipe(NARROW, (8, 8), (0.5,) * 3, (0.5,) * 3, {"kind": "squash"}, "softmax", (), "linear", "")


def test_weights_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shapes = counts.shapes(models.build(**NARROW), (8, 8))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    np.savez(tmp_path / "narrow.npz", **google.save(Loaded(zeros, RECIPE)).arrays)
    arguments = ["train", f"--config={write_config(tmp_path)}", f"--workdir={tmp_path / 'run'}"]
    said = complaint(capsys, *arguments, f"--config.weights.path={tmp_path / 'narrow.npz'}")
    assert "these weights are not the model's" in said
    assert "class_token came (1, 8), wanted (1, 16)" in said
    said = complaint(
        capsys, *arguments, f"--config.weights.path={tmp_path / 'narrow.npz'}", "--config.model.activation=gelu_exact"
    )
    assert "was trained with model.activation gelu_tanh, the config has gelu_exact" in said


def test_images_that_cannot_be_learned_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = write_config(tmp_path, source={"kind": "folder", "path": str(tmp_path / "data")}, train__split="all",
                        evaluate__split="all", evaluate__batch_size=8)  # fmt: skip
    arguments = ["train", f"--config={file}", f"--workdir={tmp_path / 'run'}"]
    assert "does not exist" in complaint(capsys, *arguments)
    (tmp_path / "data").mkdir()
    assert "is empty" in complaint(capsys, *arguments)
    images(tmp_path / "data", "cat", "dog")
    (tmp_path / "data" / "empty class").mkdir()
    assert 'empty class" has no image' in complaint(capsys, *arguments)
    (tmp_path / "data" / "empty class").rmdir()
    (tmp_path / "data" / "cat" / "9.png").write_bytes(b"no image at all")
    assert "cat/9.png" in complaint(capsys, *arguments)


def test_a_workdir_of_another_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = write_config(tmp_path)
    said = complaint(capsys, "train", f"--config={file}", f"--workdir={run}")
    assert "holds a run of another config" in said and "choose another --workdir" in said


def test_what_cannot_be_predicted(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty").mkdir()
    there = str(run.parent / "data")
    for arguments, message in [
        (("predict", f"--workdir={run}", str(tmp_path / "text.jpg")), "text.jpg"),
        (("predict", f"--workdir={run}", str(tmp_path / "empty")), "there is no image in"),
        (("predict", f"--workdir={run}", str(tmp_path / "nowhere")), "does not exist"),
        (("predict", f"--workdir={run}", there, "--top=0"), "--top is at least 1"),
        (("predict", f"--workdir={run}", there, "--format=xml"), "--format"),
        (("evaluate", "--workdir=none.npz"), "none.npz"),
        (("evaluate", f"--workdir={run.parent / 'data'}"), "no good checkpoint in"),
        (("predict", f"--workdir={run}"), "IMAGE"),
        (("predict", there), "--workdir"),
        (("predict", f"--workdir={tmp_path}", there), "no good checkpoint in"),
        (("evaluate", f"--workdir={tmp_path / 'nowhere'}"), "no good checkpoint in"),
        (("evaluate", f"--workdir={run}", "--split=tset"), "tset"),
        (("evaluat",), 'unknown verb "evaluat". Did you mean "evaluate"?'),
    ]:
        assert message in complaint(capsys, *arguments)


def test_a_model_does_not_guess_at_classes_it_never_saw(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    images(tmp_path, "black", "purple")
    said = complaint(capsys, "evaluate", f"--workdir={run}", f"--data={tmp_path}")
    assert "not trained on the class purple" in said


def test_the_config_is_printed_as_it_would_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(REPOSITORY)
    said = output(capsys, "train", "--config=configs/finetune.py:b16,pets", "--config.steps=1e3", "--print-config")
    config = json.loads(said)
    assert config["steps"] == 1000
    assert config["source"]["name"] == "oxford_iiit_pet"
    assert config["image_size"] == [384, 384]


@pytest.mark.parametrize(
    ("changes", "word", "message"),
    [
        ({}, "--config.stpes=3", 'no config field "config.stpes". Did you mean "steps"?'),
        ({"steps": "6"}, "--workdir=x", "config.steps is a whole number; got '6'"),
        ({"train": 3}, "--workdir=x", "config.train is a section; got 3"),
    ],
)
def test_in_a_process_of_its_own_an_error_is_one_line_too(tmp_path: Path, changes, word: str, message: str):
    fields = small.FIELDS | changes
    file = tmp_path / "small_config.py"
    file.write_text(f"from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({fields!r})\n")
    command = [sys.executable, "-m", "vit_jax", "train", f"--config={file}", word]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"error: {message}\n")
