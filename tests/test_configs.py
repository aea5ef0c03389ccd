"""Every config builds what it says."""

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from reduced import built, reduced

from vit_jax import models, objectives, parallel
from vit_jax.data.images import distortions, preprocess
from vit_jax.models import counts
from vit_jax.objectives.distillation import Teacher
from vit_jax.objectives.masked_patches import TARGETS
from vit_jax.tools import configuration
from vit_jax.train import experiment, optimizers, start, steps
from vit_jax.train.config import Config
from vit_jax.train.start import Trained
from vit_jax.weights import files
from vit_jax.weights.files import File
from vit_jax.weights.recipe import Recipe

CONFIGS = Path(__file__).parents[1] / "configs"


def module(name: str):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


PRETRAIN = [",".join(key) for key in module("pretrain").TABLE_3]
FINETUNE = [f"{model},{data}" for model in module("finetune").SIZES for data in module("finetune").TABLE_4]
AUGREG, TRANSFER, VTAB = module("augreg"), module("transfer"), module("vtab")
EVERY = (
    ["scratch", "scratch:S/16", "miniature:pretrain", "miniature:finetune,100", "miniature:scratch,0"]
    + [f"pretrain:{argument}" for argument in PRETRAIN]
    + [f"finetune:{argument}" for argument in FINETUNE]
    + [f"plain_s16:{epochs}" for epochs in module("plain_s16").EPOCHS]
    + [f"masked:b16,imagenet2012,{target}" for target in TARGETS]
    + [f"masked:{model},{data}" for model in module("masked").SIZES for data in module("masked").STEPS]
    + [f"mae:{model},{stage}" for model in module("mae").SIZES for stage in module("mae").STAGES]
    + [f"distill:{student},folder" for student in module("distill").STUDENTS]
    + ["distill:s16,imagenet2012"]
    + [f"gsam:{model}" for model in module("gsam").SIZES]
    + [f"augreg:{model},{data}" for model in AUGREG.MODELS for data in AUGREG.DATA]
    + [f"augreg:s16,imagenet2012,{setting}" for setting in AUGREG.GRID]
    + [f"transfer:{model},{data}" for model in TRANSFER.MODELS for data in TRANSFER.DATA]
    + [f"transfer:b16,cifar10,{crop},long" for crop in TRANSFER.CROPS]
    + [f"vtab:{model},dtd" for model in VTAB.SIZES]
    + [f"vtab:b16,{task},choose" for task in VTAB.TASKS]
)


def config(name: str) -> Config:
    file, _, argument = name.partition(":")
    return Config(**configuration.load(f"{CONFIGS / file}.py" + (f":{argument}" if argument else "")).to_dict())


def test_no_config_is_left_out():
    assert {name.partition(":")[0] for name in EVERY} == {file.stem for file in CONFIGS.glob("*.py")}


@pytest.mark.parametrize("name", EVERY)
def test_every_section_is_read_by_its_constructor(name: str):
    here = config(name)
    model = models.build(classes=10 * objectives.names_classes(**here.objective), **here.model)
    height, width = here.image_size
    assert height % model.size.stride[0] == width % model.size.stride[1] == 0
    teacher = {"teacher": Teacher({}, model, **here.value_range)} if "teacher" in here.objective else {}
    objectives.build(model, **here.value_range, **here.objective | teacher)
    _, rate = optimizers.build(here.steps, **here.optimizer)
    peak = here.optimizer["peak_learning_rate"]
    warmup = here.optimizer["schedule"]["warmup_steps"]
    assert float(rate(warmup)) == pytest.approx(peak, rel=1e-3)
    assert float(rate(here.steps)) == pytest.approx(here.optimizer["schedule"].get("end", 0) * peak, abs=1e-3 * peak)
    for half in (here.train, here.evaluate):
        preprocess.build(image_size=here.image_size, **half["preprocess"])
    distortions.after(lambda picture, rng: picture, here.train["augment"])


def untaught(here: Config) -> Trained:
    """A teacher of ten classes that nobody has trained yet, and whose head is not zero for all that."""
    options = dict(here.model) | {"classes": 10}
    model = models.build(**options)
    parameters = jax.tree.map(lambda leaf: leaf + 0.01, models.initial(model, jax.random.key(1), here.image_size))
    names = tuple("0123456789")
    recipe = Recipe(
        options, here.image_size, **here.value_range, preprocess={"kind": "squash"}, loss="softmax", class_names=names,
        position_resize="linear", source="",
    )  # fmt: skip
    return Trained(model, parameters, recipe, "untaught")


def kinds() -> list[Any]:
    """Every config, reduced, as JSON, and with it the names that come to the same; most of them slow."""
    found: dict[str, list[str]] = {}
    for name in EVERY:
        found.setdefault(json.dumps(reduced(dataclasses.asdict(config(name)))), []).append(name)
    files = {names[0].partition(":")[0]: text for text, names in reversed(found.items())}
    quick = [files[file] for file in ("pretrain", "augreg", "masked")]
    return [
        pytest.param(text, id=",".join(names)[:60], marks=() if text in quick else pytest.mark.slow)
        for text, names in found.items()
    ]


@pytest.mark.parametrize("text", kinds())
def test_every_config_is_built_sharded_and_stepped(text: str, monkeypatch: pytest.MonkeyPatch):
    """On eight devices; two steps, so that the first one's result is fit for a second."""
    here = built(json.loads(text))
    monkeypatch.setattr(start, "trained", lambda path: untaught(here))  # the teacher, where there is one
    run = experiment.build(here)
    parameters = steps.initial_parameters(run.objective, here.seed, here.image_size)
    state = steps.initial_state(run.mesh, run.optimizer, parameters, run.average)
    before = jax.tree.map(np.asarray, state.parameters)
    losses = []
    for step in range(2):
        state, metrics = run.train_step(state, parallel.place_batch(run.mesh, run.batches[step]))
        losses.append(float(metrics["loss"]))
    assert int(state.step) == 2 and np.isfinite(losses).all()
    assert all(len(leaf.sharding.device_set) == 8 for leaf in jax.tree.leaves(state))
    moved = jax.tree.map(lambda one, other: bool(np.any(one != np.asarray(other))), before, state.parameters)
    head = moved["head"] if run.objective.names_classes else moved["prediction"]
    assert head == {"kernel": True, "bias": True}


# Paper, table 3: epochs x images / 4096, peak, weight decay, dropout.
@pytest.mark.parametrize(
    ("name", "steps", "peak", "decay", "dropout"),
    [
        ("b16,jft", 517_822, 8e-4, 0.1, 0.0),
        ("h14,jft", 1_035_644, 3e-4, 0.1, 0.0),
        ("l16,imagenet21k", 311_948, 1e-3, 0.03, 0.1),
        ("b32,imagenet2012", 93_835, 3e-3, 0.3, 0.1),
    ],
)
def test_table_3(name: str, steps: int, peak: float, decay: float, dropout: float):
    here = config(f"pretrain:{name}")
    assert (here.steps, here.batch_size, here.image_size) == (steps, 4096, (224, 224))
    assert (here.optimizer["peak_learning_rate"], here.optimizer["weight_decay"]) == (peak, decay)
    assert (here.model["dropout"], here.optimizer["schedule"]["warmup_steps"]) == (dropout, 10_000)


def test_table_4():
    here = config("finetune:b16,cifar10")
    assert (here.steps, here.batch_size, here.image_size) == (10_000, 512, (384, 384))
    assert here.optimizer["name"] == "sgd" and here.optimizer["momentum"] == 0.9
    assert here.optimizer["clip_norm"] == 1.0 and here.optimizer["weight_decay"] == 0.0
    assert here.weights["path"] == "ViT-B_16.npz"


@pytest.mark.parametrize("name", ["timm_dinov2_giant", "timm_siglip", "transformers_deit_distilled"])
def test_fine_tuning_takes_the_model_of_any_weights(name: str, tmp_path: Path):
    golden = dict(np.load(CONFIGS.parent / "tests" / "golden" / "families" / f"{name}.npz"))
    arrays = {key.removeprefix("weights/"): array for key, array in golden.items() if key.startswith("weights/")}
    beside = {key: json.loads(str(golden[key])) for key in ("config", "preprocessor")}
    files.write(File(arrays, **beside), tmp_path / name)
    here = config(f"finetune:{tmp_path / name},folder,0.003")
    trained = start.trained(str(tmp_path / name))
    assert here.value_range == {"mean": trained.recipe.mean, "std": trained.recipe.std}
    assert here.optimizer["peak_learning_rate"] == 0.003 and here.model["dtype"] == "bfloat16"
    model = models.build(classes=3, **here.model)
    objective = objectives.build(model, **here.value_range, **here.objective)
    recipe = dataclasses.replace(trained.recipe, model=here.model | {"classes": 3}, image_size=here.image_size)
    _, parameters = start.parameters(objective, recipe, here.seed, **here.weights)
    jax.tree.map(np.testing.assert_array_equal, parameters["encoder"], trained.parameters["encoder"])
    assert parameters["head"]["kernel"].shape[-1] == 3


def test_pretraining_has_the_papers_hidden_layer():
    here = config("pretrain:b16,imagenet21k")
    count = counts.parameters(models.build(classes=21_843, **here.model), (224, 224))
    assert count == 86_567_656 - 769_000 + (768 * 768 + 768) + (768 + 1) * 21_843
