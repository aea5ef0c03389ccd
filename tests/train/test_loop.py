"""The loop as its users meet it: interrupted, resumed, refused, gone wrong."""

import hashlib
import json
import os
import signal
from functools import partial
from pathlib import Path

import jax
import numpy as np
import PIL.features
import PIL.Image
import pytest
import small
from small import train

from vit_jax.data import sources
from vit_jax.data.images import preprocess
from vit_jax.errors import UserError
from vit_jax.train import checkpoints, experiment, steps, workdir
from vit_jax.train.progress import Log


def digest(folder: Path, **changes) -> str:
    """Returns the sha256 of the newest checkpoint's parameters, average and optimiser state."""
    checkpoint = checkpoints.newest(folder / "checkpoints")
    assert checkpoint
    config = small.config(**changes)
    run = experiment.build(config)
    like = steps.layout_of(run.mesh, run.optimizer, run.objective, config.image_size, run.average)
    hashed = hashlib.sha256()
    for leaf in jax.tree.leaves(checkpoints.restore_state(checkpoint, like)):
        hashed.update(np.asarray(leaf).tobytes())
    return hashed.hexdigest()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    outcome, _ = train(folder)
    assert outcome.exit_code == 0 and outcome.result
    return folder


def send(number: signal.Signals, at_step: int, monkeypatch: pytest.MonkeyPatch):
    """Sends this process a signal while a step is under way."""
    original = Log.training

    def training(self, step, metrics, unreadable):
        if step == at_step:
            os.kill(os.getpid(), number)
        original(self, step, metrics, unreadable)

    monkeypatch.setattr(Log, "training", training)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize(
    ("step", "threads"),
    [pytest.param(1, 0, marks=pytest.mark.slow), (4, 2), pytest.param(5, 3, marks=pytest.mark.slow)],
)
def test_interrupted_and_resumed_is_uninterrupted(
    number: signal.Signals,
    code: int,
    step: int,
    threads: int,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    with monkeypatch.context() as patch:
        send(number, step, patch)
        outcome, said = train(tmp_path, threads=threads)
    assert (outcome.step, outcome.exit_code) == (step, code)
    assert f"{number.name} at step {step}: saved" in said
    assert checkpoints.newest(tmp_path / "checkpoints").step == step
    outcome, _ = train(tmp_path)
    assert outcome.exit_code == 0
    assert len(json.loads((tmp_path / "environment.json").read_text())) == 2
    assert digest(tmp_path) == digest(uninterrupted)
    assert checkpoints.find(tmp_path).step == checkpoints.find(uninterrupted).step  # the best is the same one
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "evaluation/top1" in line] == [4, 6]


def test_resumed_from_every_step_is_uninterrupted(uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for step in range(1, small.FIELDS["steps"]):
        with monkeypatch.context() as patch:
            send(signal.SIGTERM, step, patch)
            assert train(tmp_path)[0].step == step
    train(tmp_path)
    assert digest(tmp_path) == digest(uninterrupted)


@pytest.mark.slow
def test_with_an_average_and_frozen_parts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The average is made again here, from the parameters that each checkpoint has."""
    changes = {"average": {"decay": 0.3}, "optimizer__rates": (("positions/.*", 0.0),), "evaluate__every": 0}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = train(whole, **changes, checkpoint__every=1)[0].result
    with monkeypatch.context() as patch:
        send(signal.SIGTERM, 3, patch)
        assert train(parts, **changes)[0].step == 3
    assert train(parts, **changes)[0].result == result
    assert digest(parts, **changes) == digest(whole, **changes)

    config = small.config(**changes)
    run = experiment.build(config)
    like = steps.layout_of(run.mesh, run.optimizer, run.objective, config.image_size, run.average)
    expected = steps.initial_parameters(run.objective, config.seed, config.image_size)
    for step, share in enumerate((9 / 10, 9 / 11, 9 / 12, 0.7, 0.7, 0.7), start=1):
        there = checkpoints.restore_state(checkpoints.find(whole / "checkpoints" / f"{step:08}"), like)
        expected = jax.tree.map(
            lambda old, new, share=share: (1 - share) * old + share * new, expected, there.parameters
        )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), there.average, expected)
    assert not np.allclose(there.average["head"]["kernel"], there.parameters["head"]["kernel"], rtol=1e-3)
    assert run.exam.hold(run.examiner, there.average) == result
    trained = checkpoints.restore_parameters(checkpoints.find(whole))
    jax.tree.map(np.testing.assert_array_equal, trained, there.average)


@pytest.mark.slow
def test_every_way_to_step_learns(tmp_path: Path):
    """Of ten digits; a result that differs from all others says that the way was really taken."""
    size = {"width": 32, "depth": 2, "mlp_hidden": 64, "heads": 2, "patch": (2, 2)}
    plain = {
        **{"steps": 150, "batch_size": 64, "evaluate__every": 0, "checkpoint__every": 150, "log__every": 50},
        **{"model__size": size, "model__dropout": 0.0, "objective__mixup": 0.0},
    }
    optimizer = {**small.FIELDS["optimizer"], "peak_learning_rate": 5e-3}
    ways = {
        "plain": {"optimizer": optimizer},
        "sam": {"optimizer": optimizer, "sharpness": {"rho_max": 0.05, "rho_min": 0.05, "alpha": 0.0}},
        "gsam": {"optimizer": optimizer, "sharpness": {"rho_max": 0.05, "rho_min": 0.01, "alpha": 0.4}},
        "average": {"optimizer": optimizer, "average": {"decay": 0.95}},
        "lion": {"optimizer": {**optimizer, "name": "lion", "peak_learning_rate": 1e-3}},
        "adafactor": {"optimizer": {**optimizer, "name": "adafactor"}},
        "layers": {"optimizer": {**optimizer, "layer_decay": 0.8, "rates": (("positions/.*", 0.0),)}},
    }
    results = {name: train(tmp_path / name, **plain, **changes)[0].result for name, changes in ways.items()}
    # Chance is 0.1 +- 0.04, and a loss of 2.30.
    assert all(result.top1 > 0.2 and result.loss < 2.15 for result in results.values()), results
    assert len(set(results.values())) == len(ways), results


def test_after_damage_it_goes_on_from_the_checkpoint_before(uninterrupted: Path, tmp_path: Path, caplog):
    train(tmp_path)
    for name in ("00000006", "00000004"):
        largest = max((tmp_path / "checkpoints" / name).rglob("*"), key=lambda file: file.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.write_bytes(bytes(content))
    train(tmp_path)
    assert "00000006" in caplog.text and "00000004" in caplog.text
    assert digest(tmp_path) == digest(uninterrupted)


def test_a_finished_run_says_its_result_again(tmp_path: Path):
    first, _ = train(tmp_path, steps=2)
    again, _ = train(tmp_path, steps=2)
    assert again.exit_code == 0
    assert again.result == first.result


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_last_good_checkpoint(tmp_path: Path):
    """The rate rises to 1e25 over the warm-up: the first steps are good, then nothing is."""
    schedule = {"name": "constant", "warmup_steps": 5}
    changes = {"optimizer": {"name": "sgd", "peak_learning_rate": 1e25, "schedule": schedule}, "checkpoint__every": 1}
    outcome, said = train(tmp_path, **changes)
    assert outcome.exit_code == 1
    assert "error: step 2: loss" in said and "lower the learning rate" in said
    kept = checkpoints.newest(tmp_path / "checkpoints")
    assert kept and kept.step == 1  # the rate of the first step is 0
    assert f"The last good checkpoint is {kept.path}." in said


def test_an_image_that_cannot_be_read_loses_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    original = preprocess.build

    def fragile(*arguments, **options):
        transform, seen = original(*arguments, **options), []

        def failing(image, rng):
            seen.append(image)
            if len(seen) > 3 * 16:
                raise UserError("cannot decode")
            return transform(image, rng)

        return failing

    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "build", fragile)
        with pytest.raises(UserError, match="cannot decode"):
            train(tmp_path, checkpoint__every=100, evaluate__every=0)
    assert checkpoints.newest(tmp_path / "checkpoints").step == 3


def test_an_image_that_cannot_be_decoded_has_a_stand_in_and_is_counted(tmp_path: Path, caplog):
    for number in range(20):
        file = tmp_path / "images" / "train" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("L", (8, 8), 10 * number).save(file)
    file.write_bytes(b"not an image")
    changes = {
        "source": {"kind": "folder", "path": str(tmp_path / "images")},
        "evaluate": small.FIELDS["evaluate"] | {"split": "train[:50%]", "every": 0},
    }
    share = {"sampling": {"unreadable_share": 0.05}}
    outcome, _ = train(tmp_path / "run", **changes, train=small.FIELDS["train"] | share, steps=4)
    assert outcome.exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["unreadable_images"] for line in lines if "unreadable_images" in line][-1] == 1
    assert sum("19.png" in message for message in caplog.messages) == 1
    with pytest.raises(UserError, match=r"19\.png.*1 of 20 images cannot be read, more than unreadable_share 0.001"):
        train(tmp_path / "strict", **changes)


def test_data_with_other_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train(tmp_path, steps=1, optimizer__schedule={"name": "cosine"})
    original = sources.build

    def renamed(*arguments, **options):
        source = original(*arguments, **options)
        source.class_names = tuple(reversed(source.class_names))
        return source

    monkeypatch.setattr(sources, "build", renamed)
    with pytest.raises(UserError, match="was trained on other classes than the data has now"):
        train(tmp_path, steps=1, optimizer__schedule={"name": "cosine"})


def test_a_run_keeps_its_decoder(tmp_path: Path):
    before, now = ({"train": {"preprocess": {"kind": "squash", **more}}} for more in ({}, {"decoder": "fast"}))
    (tmp_path / "config.json").write_text(json.dumps(before))
    with pytest.raises(UserError, match=r"config.train.preprocess.decoder was None, is fast"):
        workdir.check(tmp_path, now)


def test_another_config_is_refused(tmp_path: Path):
    train(tmp_path, steps=1, optimizer__schedule={"name": "cosine"})
    with pytest.raises(UserError, match=r"another config \(config.seed was 0, is 1\); choose another --workdir"):
        train(tmp_path, steps=1, optimizer__schedule={"name": "cosine"}, seed=1)
    train(tmp_path, steps=1, optimizer__schedule={"name": "cosine"}, log={"every": 3}, threads=1)


def test_two_runs_at_once_are_refused(tmp_path: Path):
    from vit_jax.train import workdir

    with workdir.occupied(tmp_path), pytest.raises(UserError, match=f"is in use by process {os.getpid()}"):
        train(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        train(tmp_path / "file" / "run")


def test_what_lies_beside_a_run(uninterrupted: Path):
    (start,) = json.loads((uninterrupted / "environment.json").read_text())
    assert start["packages"]["jax"] == jax.__version__
    assert start["libjpeg_turbo"] == PIL.features.version("libjpeg_turbo")
    assert json.loads((uninterrupted / "config.json").read_text())["steps"] == 6
    assert (uninterrupted / "metrics.jsonl").stat().st_size


@pytest.mark.slow
def test_tensorboard_and_profile_are_written_when_asked_for(tmp_path: Path):
    train(tmp_path, log={"every": 1, "tensorboard": True}, profile={"first_step": 2, "steps": 2})
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert [file for file in (tmp_path / "profile").rglob("*.xplane.pb") if file.stat().st_size]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__size": "Q/4"}, 'unknown model size "Q/4"'),
        ({"model__witdh": 3}, 'config.model reads no "witdh"'),
        ({"image_size": (10, 8)}, "image 10x8 does not divide into patches of 4x4"),
        ({"train__splt": "x"}, 'config.train reads no "splt". Did you mean "split"'),
        ({"checkpoint__evry": 2}, 'config.checkpoint reads no "evry". Did you mean "every"'),
        ({"log__evry": 2}, 'config.log reads no "evry"'),
        ({"mesh__dta": 2}, 'config.mesh reads no "dta"'),
        ({"batch_size": 13}, "batch_size 13 does not divide"),
        ({"model__classes": 10}, "config.model has no field classes"),
        ({"evaluate__batch_size": 101}, "batch_size 101 does not divide"),
        ({"weights__path": "no/such/ViT-B_16.npz"}, "no/such/ViT-B_16.npz"),
        ({"weights__path": "no/such/run"}, "no/such/run; give a run's workdir"),
        ({"objective__loss": "sotfmax"}, 'Did you mean "softmax"'),
        ({"average": {"decay": 1.0}}, "average.decay is a share, at least 0 (no average) and below 1; got 1.0"),
        ({"sharpness__rho_min": 0.1}, "sharpness wants 0 <= rho_min <= rho_max"),
        ({"steps": 0}, "config.steps is at least 1"),
    ],
)
def test_a_config_that_does_not_fit_is_one_line(tmp_path: Path, changes, message: str):
    with pytest.raises(UserError) as caught:
        train(tmp_path / "run", **changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "run").glob("checkpoints/*"))
