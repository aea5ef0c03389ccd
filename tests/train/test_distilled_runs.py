"""Runs that learn from a teacher: another run's checkpoint."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import small

from vit_jax import parallel
from vit_jax.errors import UserError
from vit_jax.train import checkpoints, experiment, start, steps

MASTER = {"width": 24, "depth": 2, "mlp_hidden": 24, "heads": 2, "patch": (4, 4)}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of another size, value range and position embedding than the small experiment's model."""
    folder = tmp_path_factory.mktemp("master") / "run"
    ranges = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    changes = {"model__positions": "sincos2d", "model__pool": "mean", "value_range": ranges, "evaluate__every": 0}
    assert small.train(folder, model__size=MASTER, **changes)[0].exit_code == 0
    return folder


def objective(path: Path, **options) -> dict:
    return {"kind": "distillation", "teacher": str(path), "temperature": 2.0, "mixup": 0.2, **options}


def test_a_teacher_teaches_and_never_learns(master: Path):
    run = experiment.build(small.config(objective=objective(master), mesh={"data": 4}))
    before = checkpoints.restore_parameters(checkpoints.find(master))
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(run.objective))
    assert all(len(leaf.sharding.device_set) == 4 for leaf in jax.tree.leaves(run.objective))
    state = steps.initial_state(run.mesh, run.optimizer, steps.initial_parameters(run.objective, 0, (8, 8)))
    losses = []
    for step in range(3):
        state, metrics = run.train_step(state, parallel.place_batch(run.mesh, run.batches[step]))
        losses.append(float(metrics["loss"]))
    assert len(set(losses)) > 1 and np.isfinite(losses).all()
    jax.tree.map(np.testing.assert_array_equal, run.objective.teacher.parameters, before)


@pytest.mark.slow
def test_a_distilled_run_is_a_classifier(master: Path, tmp_path: Path):
    outcome, _ = small.train(tmp_path, objective=objective(master), steps=2)
    assert outcome.result
    trained = start.trained(str(tmp_path))
    assert trained.recipe.class_names == tuple("0123456789") and trained.recipe.loss == "softmax"
    assert trained.recipe.mean == (0.5, 0.5, 0.5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {"train/agreement", "train/accuracy"} <= set(lines[0]) and "evaluation/top1" in lines[-1]
    again, _ = small.train(tmp_path, objective=objective(master), steps=2)
    assert again.result == outcome.result


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"class_names": tuple("1023456789")}, "knows other classes than the data has, or in another order: 1, 0, 2"),
        ({"class_names": (), "model": {"classes": 12}}, "knows 12 classes, the data has 10"),
        ({"image_size": (16, 16)}, r"set '--config.image_size=\(16, 16\)' or choose another teacher"),
        ({"loss": "sigmoid"}, "answers by sigmoid"),
        ({"model": {"classes": 0}}, "names no class; fine-tune it first"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(recipe, message: str, master: Path, monkeypatch: pytest.MonkeyPatch):
    trained = start.trained(str(master))
    changed = dataclasses.replace(trained, recipe=dataclasses.replace(trained.recipe, **recipe))
    monkeypatch.setattr(start, "trained", lambda path: changed)
    with pytest.raises(UserError, match=message):
        experiment.build(small.config(objective=objective(master)))


def test_a_teacher_that_is_not_there(tmp_path: Path):
    with pytest.raises(UserError, match="no good checkpoint in .*nobody"):
        experiment.build(small.config(objective=objective(tmp_path / "nobody")))
