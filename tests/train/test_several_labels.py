"""Images with several labels, or none, all the way: read from a table, learned, evaluated, drawn."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import sklearn.metrics
from small import train

from vit_jax import parallel
from vit_jax.__main__ import main
from vit_jax.data import pipeline, sources
from vit_jax.data.images import preprocess
from vit_jax.evaluate.classify import Classifier
from vit_jax.tools.figures import name_of
from vit_jax.train import start

COLOURS = {"red": (220, 40, 40), "green": (40, 220, 40), "blue": (40, 40, 220), "": (90, 90, 90), " ": (170, 170, 170)}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two noisy tiles side by side, each of a colour; the greys have no label."""
    folder = tmp_path_factory.mktemp("pairs")
    draw = np.random.default_rng(0)
    for split, count in (("train", 320), ("val", 104)):
        with open(folder / f"{split}.jsonl", "w") as table:
            for number in range(count):
                colours = [list(COLOURS)[place] for place in draw.integers(len(COLOURS), size=2)]
                tiles = np.repeat([COLOURS[colour] for colour in colours], 8, axis=0)[None].repeat(8, axis=0)
                pixels = np.clip(tiles + draw.normal(scale=90, size=tiles.shape), 0, 255).astype(np.uint8)
                PIL.Image.fromarray(pixels).save(folder / f"{split}{number}.png")
                labels = [colour for colour in colours if colour.strip()]
                print(json.dumps({"image": f"{split}{number}.png", "label": labels}), file=table)
    return folder


@pytest.fixture(scope="module")
def run(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned the pairs."""
    folder = tmp_path_factory.mktemp("run")
    outcome, said = train(
        folder,
        source={"kind": "table", "path": str(pairs)},
        image_size=(8, 16),
        steps=24,
        batch_size=32,
        evaluate__every=0,
        checkpoint__every=24,
        objective={"kind": "classification", "loss": "sigmoid", "label_smoothing": 0.01},
        optimizer__weight_decay=0.0,
    )
    assert outcome.exit_code == 0, said
    return folder


def test_a_tiny_run_learns(run: Path, pairs: Path):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = lines[-1]
    counts = [len(set(json.loads(line)["label"])) for line in (pairs / "val.jsonl").read_text().splitlines()]
    assert (last["evaluation/seen"], last["evaluation/labelled"]) == (104, np.count_nonzero(counts))
    chance = 1 - (4 / 5) ** 2  # the share of the images that a colour is on, about
    assert last["evaluation/mean_average_precision"] > 0.9 > 2 * chance
    assert last["evaluation/top1"] > 0.9
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_evaluate_says_what_scikit_learn_says(run: Path, pairs: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", f"--workdir={run}", "--json", "--batch-size=40"]) == 0
    result = json.loads(capsys.readouterr().out)

    trained = start.trained(str(run))
    source = sources.build("table", "val", path=str(pairs))
    truth = np.zeros((len(source), 3), bool)
    for row in range(len(source)):
        truth[row, list(source[row].label)] = True
    recipe = trained.recipe
    classifier = Classifier(trained.model, parallel.make_mesh(1), recipe.mean, recipe.std, "sigmoid")
    scores = classifier.probabilities(
        trained.parameters, pipeline.evaluation(source, preprocess.build("squash", (8, 16)), 104, threads=0)
    )
    expected = sklearn.metrics.average_precision_score(truth, scores, average="macro")
    assert result["mean_average_precision"] == pytest.approx(expected, abs=1e-6)
    hits = truth[np.arange(len(source)), scores.argmax(axis=1)]
    assert result["top1"] == pytest.approx(hits[truth.any(axis=1)].mean())
    assert main(["evaluate", f"--workdir={run}", "--batch-size=40"]) == 0
    assert f"mAP {expected:.2%}, top-1 {result['top1']:.2%} (95%" in capsys.readouterr().out


def test_figures_name_all_of_them(pairs: Path):
    source = sources.build("table", "val", path=str(pairs))
    names = [name_of(source, index) for index in range(len(source))]
    several = next(index for index in range(len(source)) if len(source[index].label) == 2)
    none = next(index for index in range(len(source)) if not source[index].label)
    assert names[several] == ", ".join(source.class_names[label] for label in source[several].label)
    assert names[none] == f"val{none}.png"


@pytest.mark.slow
def test_figures_are_drawn_of_them(run: Path, pairs: Path, tmp_path: Path):
    assert main(["figures", f"--workdir={run}", "--limit=8", f"--output={tmp_path}"]) == 0
    assert name_of(sources.build("table", "val", path=str(pairs)), 0) in (tmp_path / "figures.html").read_text()
