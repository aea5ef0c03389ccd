"""A hybrid and a ResNet through the whole of a run: digits, trained, kept, evaluated, predicted."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import small

from vit_jax.__main__ import main
from vit_jax.models.sizes import numbers_of
from vit_jax.train import start

STEM = {"units": (1,), "width": 32}
ENCODER = {"width": 16, "depth": 1, "mlp_hidden": 24, "heads": 2}


@pytest.mark.parametrize(
    ("size", "steps"),
    [
        pytest.param(ENCODER | {"patch": (1, 1), "stem": STEM}, 24, id="hybrid", marks=pytest.mark.slow),
        pytest.param(STEM, 80, id="bit", marks=pytest.mark.slow),
    ],
)
def test_a_run_learns_and_what_it_keeps_is_what_it_learned(
    size, steps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "run"
    changes = {
        "model": {"size": size},
        "image_size": (16, 16),
        "train__preprocess": {"kind": "squash"},
        "objective__mixup": 0.0,
        "evaluate__every": 0,
        "checkpoint__every": steps,
    }
    outcome, said = small.train(folder, steps=steps, **changes)
    assert outcome.exit_code == 0, said
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last, losses = lines[-1], [line["train/loss"] for line in lines if "train/loss" in line]
    assert len(losses) == steps
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2

    assert json.dumps(numbers_of(start.trained(str(folder)).model.size)) == json.dumps(size)
    assert main(["evaluate", f"--workdir={folder}", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["loss"] == pytest.approx(last["evaluation/loss"], rel=1e-5)

    PIL.Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "black.png")
    assert main(["predict", f"--workdir={folder}", str(tmp_path / "black.png"), "--format=json", "--top=10"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert sum(each["probability"] for each in row["classes"]) == pytest.approx(1, abs=1e-5)
