"""Runs that predict patches and name no class: from the first step to fine-tuning."""

import json
import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
import small

from vit_jax import models, objectives, parallel
from vit_jax.__main__ import main
from vit_jax.errors import UserError
from vit_jax.train import checkpoints, optimizers, start, steps
from vit_jax.train.progress import Log

HALF = (0.5, 0.5, 0.5)
OBJECTIVES = {
    "masked_patches": {"kind": "masked_patches"},
    "masked_autoencoder": {
        "kind": "masked_autoencoder", "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2
    },
}  # fmt: skip
# The one is enough for the quick tests; what both share does not know which of them it serves.
KINDS = ["masked_patches", pytest.param("masked_autoencoder", marks=pytest.mark.slow)]
SIZE = {"width": 16, "depth": 1, "mlp_hidden": 24, "heads": 2, "patch": (2, 2)}


def pretrain(folder: Path, kind: str = "masked_patches", **changes):
    return small.train(folder, objective=OBJECTIVES[kind], model__size=SIZE, **changes)


@pytest.fixture(scope="module", params=KINDS)
def pretrained(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked") / request.param
    outcome, _ = pretrain(folder, request.param)
    assert outcome.exit_code == 0
    return folder


def same_arrays(one: Path, other: Path) -> None:
    found = [checkpoints.newest(folder / "checkpoints") for folder in (one, other)]
    assert found[0] and found[1] and found[0].step == found[1].step == small.FIELDS["steps"]
    jax.tree.map(np.testing.assert_array_equal, *map(checkpoints.restore_parameters, found))


def test_interrupted_and_resumed_is_uninterrupted(pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    original = Log.training

    def training(self, step, metrics, unreadable):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, step, metrics, unreadable)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "training", training)
        outcome, _ = pretrain(tmp_path, pretrained.name)
    assert (outcome.step, outcome.exit_code) == (3, 143)
    pretrain(tmp_path, pretrained.name)
    same_arrays(tmp_path, pretrained)
    lines = [json.loads(line) for line in (pretrained / "metrics.jsonl").read_text().splitlines()]
    again = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for name in ("train/loss", "evaluation/loss", "evaluation/seen"):
        assert [line[name] for line in again if name in line] == [line[name] for line in lines if name in line] != []


def test_the_best_checkpoint_has_the_lowest_loss(pretrained: Path):
    lines = [json.loads(line) for line in (pretrained / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["evaluation/loss"] for line in lines if "evaluation/loss" in line}
    assert set(losses) == {4, 6}
    best = checkpoints.find(pretrained)
    assert best.step == min(losses, key=losses.__getitem__)
    assert best.score == -losses[best.step]


def test_its_recipe_knows_no_class(pretrained: Path):
    recipe = checkpoints.find(pretrained).recipe
    assert (recipe.class_names, recipe.loss, recipe.model["classes"]) == ((), "", 0)


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_it_is_not_asked_for_classes(verb: str, pretrained: Path, capsys, tmp_path: Path):
    np.asarray([0], np.uint8).tofile(tmp_path / "image.png")
    files = [str(tmp_path / "image.png")] if verb == "predict" else []
    assert main([verb, f"--workdir={pretrained}", *files]) == 2
    said = capsys.readouterr().err
    assert said.endswith("has no head and names no class; fine-tune it first\n")
    assert said.count("\n") == 1


def test_fine_tuning_takes_the_encoder_and_a_new_head(pretrained: Path, tmp_path: Path):
    weights = {"path": str(pretrained)}
    changes = {"model__size": SIZE, "image_size": (12, 8), "steps": 2, "objective__mixup": 0.0, "model__dropout": 0.0}
    config = small.config(weights=weights, **changes)
    before = start.trained(str(pretrained)).parameters
    assert "head" not in before and "model" not in before
    model = models.build(classes=10, **config.model)
    objective = objectives.build(model, HALF, HALF, **config.objective)
    recipe = checkpoints.find(pretrained).recipe
    _, after = start.parameters(objective, recipe.__class__(**{**vars(recipe), "image_size": (12, 8)}), 1, **weights)
    jax.tree.map(np.testing.assert_array_equal, before["encoder"], after["encoder"])
    assert (before["positions"]["grid"].shape, after["positions"]["grid"].shape) == ((4, 4, 16), (6, 4, 16))
    assert after["head"]["kernel"].shape == (16, 10) and not np.any(after["head"]["kernel"])

    outcome, _ = small.train(tmp_path, weights=weights, **changes)
    assert outcome.result and outcome.result.as_dict()["seen"] == 200
    assert start.trained(str(tmp_path)).recipe.class_names == tuple("0123456789")


def test_another_pool_is_refused(pretrained: Path, tmp_path: Path):
    with pytest.raises(UserError, match="the model has no: class_token"):
        small.train(tmp_path, weights__path=str(pretrained), model__size=SIZE, model__pool="mean")


@pytest.mark.slow
def test_pretraining_goes_on_from_a_pretrained_run(pretrained: Path, tmp_path: Path):
    """The model is taken over; the rest, as the mask embedding, is drawn anew."""
    config = small.config(objective=OBJECTIVES[pretrained.name], model__size=SIZE)
    objective = objectives.build(models.build(classes=0, **config.model), HALF, HALF, **config.objective)
    _, after = start.parameters(objective, checkpoints.find(pretrained).recipe, 1, str(pretrained))
    jax.tree.map(np.testing.assert_array_equal, after["model"], start.trained(str(pretrained)).parameters)
    assert set(after) - {"model"} == set(objective.initial(jax.random.key(0), (8, 8))) - {"model"}


def test_the_number_of_classes_is_not_for_the_config():
    with pytest.raises(UserError, match="config.model has no field classes"):
        small.train(Path("unused"), objective=OBJECTIVES["masked_patches"], model__classes=3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_devices_and_accumulation_draw_the_same_curve(kind: str):
    def curve(devices: int, accumulate: int) -> np.ndarray:
        mesh = parallel.make_mesh(devices)
        objective = objectives.build(models.build(SIZE, classes=0), HALF, HALF, **OBJECTIVES[kind])
        optimizer, rate = optimizers.build(9, "sgd", 1e-1, {"name": "constant"})
        state = steps.initial_state(mesh, optimizer, steps.initial_parameters(objective, 0, (8, 8)))
        train_step = steps.make_train_step(objective, optimizer, rate, 0, accumulate)
        pixels = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3)).astype(np.uint8)
        batch = parallel.place_batch(mesh, {"image": pixels, "label": np.zeros(16, np.int32)})
        losses = []
        for _ in range(5):
            state, metrics = train_step(state, batch)
            losses.append(float(metrics["loss"]))
        return np.array(losses)

    one = curve(1, 1)
    assert len(set(one)) == 5  # it learns, so the curve says something
    np.testing.assert_allclose(curve(8, 2), one, rtol=1e-5)
