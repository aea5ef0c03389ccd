"""The paper in miniature: the set-up is fair, and a tiny one runs from end to end."""

import csv
import re

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from vit_jax.data import sources
from vit_jax.errors import construct
from vit_jax.tools import comparison, miniature
from vit_jax.tools.comparison import BUDGETS, RUNS, settings
from vit_jax.train import loop
from vit_jax.train.config import Config
from vit_jax.train.loop import Outcome


@pytest.mark.parametrize("run", RUNS)
def test_every_run_has_a_config(tmp_path, run):
    construct(Config, "the config", **settings(run, tmp_path, seed=3))
    assert settings(run, tmp_path, seed=3)["seed"] == 3


@pytest.mark.parametrize("budget", BUDGETS)
def test_both_arms_differ_in_where_they_start_and_in_the_learning_rate_alone(tmp_path, budget):
    fine_tuned, scratch = (settings(f"{arm}-{budget or 'all'}", tmp_path, seed=0) for arm in ("finetune", "scratch"))
    assert fine_tuned.pop("weights") == {"path": str(tmp_path / "pretrain"), "new_head": True}
    assert scratch.pop("weights")["path"] == ""
    for config in (fine_tuned, scratch):
        del config["optimizer"]["peak_learning_rate"]
    assert fine_tuned == scratch
    assert fine_tuned["source"] == {"kind": "digits", "labels": budget}


def test_the_resolution_rises_and_the_test_digits_are_seen_at_the_end_alone(tmp_path):
    pretraining, fine_tuning = settings("pretrain", tmp_path, seed=0), settings("finetune-100", tmp_path, seed=0)
    assert fine_tuning["image_size"] > pretraining["image_size"]
    assert fine_tuning["model"] == pretraining["model"]
    assert (fine_tuning["evaluate"]["split"], fine_tuning["evaluate"]["every"]) == ("test", 0)


@pytest.mark.parametrize("code", [1, 130, 143])
def test_an_early_end_ends_it_all_with_its_code(tmp_path, monkeypatch, capsys, code):
    ended = []

    def train(config: Config, folder, *_) -> Outcome:
        ended.append(folder.name)
        return Outcome(step=0, result=None, exit_code=code if len(ended) == 2 else 0)

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr("vit_jax.tools.compilation.keep_compiled", lambda: None)
    assert miniature.main([f"--workdir={tmp_path}"]) == code
    assert ended == ["pretrain", "finetune-100"]
    assert "2/7 fine-tuning on 100 digits, 24 pixels" in capsys.readouterr().err


@pytest.mark.slow
def test_a_few_steps_from_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "settings", lambda run, folder, seed, _: settings(run, folder, seed, 0.01))
    monkeypatch.setattr("vit_jax.tools.compilation.keep_compiled", lambda: None)
    assert miniature.main([f"--workdir={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "report.html") in printed

    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 500
    right = sum(row["true"] == row["predicted"] for row in rows) / 500
    page = (tmp_path / "report.html").read_text()
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    assert re.findall(r"<td>([\d.]+%)", table)[6] == f"{right:.1%}"  # the last budget's first arm
    assert f"{right:.1%}" in printed
    neighbours = [nearest_by_sklearn(budget) for budget in BUDGETS]
    assert re.findall(r"<td>([\d.]+%)", table)[2::3] == [f"{share:.1%}" for share in neighbours]


def nearest_by_sklearn(labels: int) -> float:
    known, asked = sources.build("digits", "train", labels=labels), sources.build("digits", "test")
    (known_pixels, known_labels), (pixels, wanted) = (
        (np.stack([each.image.ravel() for each in source]).astype(float), [each.label for each in source])
        for source in (known, asked)
    )
    return KNeighborsClassifier(1).fit(known_pixels, known_labels).score(pixels, wanted)
