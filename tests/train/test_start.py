"""Starting from what was learned before."""

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import small
from ml_collections import ConfigDict

from vit_jax import models
from vit_jax.errors import UserError
from vit_jax.models import positions
from vit_jax.objectives.classify import Classification
from vit_jax.tools import configuration
from vit_jax.train import start
from vit_jax.weights import bit, files, google
from vit_jax.weights.files import File
from vit_jax.weights.loaded import Loaded


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upstream") / "run"
    fractals = {"kind": "fractals", "classes": 3, "per_class": 20, "image_size": (8, 8)}
    changes = {"source": fractals, "evaluate__batch_size": 20, "evaluate__every": 0, "checkpoint__every": 6}
    assert small.train(folder, **changes)[0].exit_code == 0
    return folder


def objective_of(model):
    return Classification(model, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def begun(path: str, image_size=(8, 8), classes: int = 10, **options):
    """What a run on `classes` classes at `image_size` begins with."""
    trained = start.trained(path)
    model = models.build(**{**trained.recipe.model, "classes": classes})
    recipe = dataclasses.replace(
        trained.recipe, image_size=image_size, model={**trained.recipe.model, "classes": classes}
    )
    return trained, *start.parameters(objective_of(model), recipe, seed=1, path=path, **options)


def test_fine_tuning_takes_all_but_the_head_and_interpolates_positions(upstream: Path):
    trained, recipe, parameters = begun(str(upstream), image_size=(16, 12))
    before, after = trained.parameters, parameters
    jax.tree.map(np.testing.assert_array_equal, before["encoder"], after["encoder"])
    np.testing.assert_array_equal(before["positions"]["prefix"], after["positions"]["prefix"])
    assert before["positions"]["grid"].shape == (2, 2, 16)
    expected = positions.resize(before["positions"]["grid"], (4, 3), "linear")
    np.testing.assert_array_equal(after["positions"]["grid"], expected)
    assert after["head"]["kernel"].shape == (16, 10)
    assert not np.any(after["head"]["kernel"])  # paper, section 3.2: zeros
    assert np.any(before["head"]["kernel"])
    assert recipe.source.startswith("from ")


def test_a_head_of_the_same_classes_stays_unless_a_new_one_is_asked_for(upstream: Path):
    trained, _, parameters = begun(str(upstream), classes=3)
    np.testing.assert_array_equal(parameters["head"]["kernel"], trained.parameters["head"]["kernel"])
    _, _, parameters = begun(str(upstream), classes=3, new_head=True)
    assert not np.any(parameters["head"]["kernel"])


def test_a_run_goes_on_from_another_and_from_googles_format_alike(upstream: Path, tmp_path: Path):
    """The same weights by both ways give the same run: only the kernel for positions belongs to the family."""
    trained = start.trained(str(upstream))
    loaded = Loaded(jax.tree.map(np.asarray, trained.parameters), trained.recipe)
    np.savez(tmp_path / "run.npz", **google.save(loaded).arrays)
    results = [
        small.train(tmp_path / name, weights__path=str(path), steps=3)[0].result
        for name, path in (("own", upstream), ("google", tmp_path / "run.npz"))
    ]
    assert results[0] == results[1]
    scratch = small.train(tmp_path / "scratch", steps=3)[0].result
    assert scratch != results[0]


def test_a_run_resumed_needs_its_upstream_no_more(upstream: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(upstream, copy)
    changes = {"weights__path": str(copy), "steps": 2, "checkpoint__every": 1}
    first, _ = small.train(tmp_path / "run", **changes)
    shutil.rmtree(copy)
    assert small.train(tmp_path / "run", **changes)[0].result == first.result


def test_another_value_range_is_refused(upstream: Path):
    trained = start.trained(str(upstream))
    recipe = dataclasses.replace(trained.recipe, mean=(0.48, 0.46, 0.41))
    with pytest.raises(UserError, match=r"trained with value_range.mean \(0.5, 0.5, 0.5\)"):
        start.parameters(objective_of(trained.model), recipe, 0, str(upstream))


GOLDEN = Path(__file__).parents[1] / "golden"


def published(name: str, folder: Path) -> str:
    """Writes the weights of a golden file as Google would have; returns their path."""
    arrays = dict(np.load(GOLDEN / f"{name}.npz"))
    weights = {key.removeprefix("weights/"): array for key, array in arrays.items() if key.startswith("weights/")}
    np.savez(folder / f"{name}.npz", **weights)
    return str(folder / f"{name}.npz")


@pytest.mark.parametrize(
    ("name", "read", "size", "option"),
    [
        ("hybrid", google.load, (32, 32), ("stem_norm_epsilon", 1e-6)),
        ("bit", bit.load, (480, 480), ("norm_epsilon", 1e-5)),
    ],
)
def test_a_published_file_tells_its_family(name: str, read, size: tuple[int, int], option, tmp_path: Path):
    trained = start.trained(published(name, tmp_path))
    arrays = dict(np.load(tmp_path / f"{name}.npz"))
    jax.tree.map(np.testing.assert_array_equal, trained.parameters, read(File(arrays)).parameters)
    assert (trained.recipe.image_size, trained.recipe.source) == (size, f"{name}.npz")
    assert models.option(trained.model, option[0]) == option[1]
    logits = jax.jit(lambda p, x: models.apply(trained.model, p, x))(trained.parameters, np.zeros((1, 32, 32, 3)))
    assert logits.shape == (1, 7) and np.any(logits)


def test_a_hybrid_fine_tunes_at_another_size_on_another_task(tmp_path: Path):
    trained, _, parameters = begun(published("hybrid", tmp_path), image_size=(40, 24), classes=3)
    expected = positions.resize(
        jax.numpy.asarray(trained.parameters["positions"]["grid"]), (5, 3), "linear_align_corners"
    )
    np.testing.assert_array_equal(parameters["positions"]["grid"], expected)
    jax.tree.map(np.testing.assert_array_equal, parameters["stem"], trained.parameters["stem"])
    assert parameters["head"]["kernel"].shape == (24, 3)


@pytest.mark.parametrize(("name", "other"), [("hybrid", "google"), ("bit", "bit")])
def test_another_standardization_is_refused(name: str, other: str, tmp_path: Path):
    trained = start.trained(published(name, tmp_path))
    here = dataclasses.replace(trained, model=models.build(**trained.recipe.model | {"standardization": "timm"}))
    with pytest.raises(UserError, match=f"trained with model.standardization {other}, the config has timm"):
        start.refuse_differences(trained, here)


def test_a_complaint_says_what_to_set(tmp_path: Path):
    """Whoever pastes what each complaint says comes to a run that starts from the weights."""
    source = golden_family("timm_dinov3_plus", tmp_path / "dinov3")
    config = ConfigDict(small.FIELDS | {"weights": {"path": source}, "image_size": (16, 16), "steps": 2}).lock()
    complaints = []
    while len(complaints) < 3:
        try:
            small.train(tmp_path / "run", **config.to_dict())
            break
        except UserError as error:
            complaints.append(str(error))
            for word in shlex.split(complaints[-1].partition("; set ")[2]):
                configuration.override(config, word)
    assert len(complaints) == 1
    for unlike in ("model.rotary dinov3, the config has none", "value_range.std (0.229, 0.224, 0.225), the config has"):
        assert unlike in complaints[0]
    assert config.model.dropout == 0.1  # as it was: it is no part of the weights
    parameters = start.trained(str(tmp_path / "run")).parameters
    assert parameters["registers"].shape == start.trained(source).parameters["registers"].shape


def golden_family(name: str, folder: Path) -> str:
    """Writes the checkpoint of a golden file of tests/golden/families; returns its path."""
    golden = dict(np.load(GOLDEN / "families" / f"{name}.npz"))
    arrays = {key.removeprefix("weights/"): array for key, array in golden.items() if key.startswith("weights/")}
    files.write(File(arrays, json.loads(str(golden["config"]))), folder)
    return str(folder)


def test_a_model_of_another_size_is_told_how_to_be_set(upstream: Path):
    options = {"size": small.FIELDS["model"]["size"] | {"depth": 2, "patch": [4, 4]}, "dropout": 0.2}
    trained = start.trained(str(upstream))
    recipe = dataclasses.replace(trained.recipe, model=options | {"classes": 10})
    with pytest.raises(
        UserError, match="the weights lack: encoder/block01.* For the model of the weights, set"
    ) as said:
        start.parameters(objective_of(models.build(**recipe.model)), recipe, 0, str(upstream))
    assert '"depth": 1' in str(said.value) and '"dropout": 0.2' in str(said.value)


def test_a_licence_goes_with_what_is_learned_from_the_weights(tmp_path: Path):
    _, recipe, _ = begun(published("vit_class_token", tmp_path), image_size=(16, 16))
    assert recipe.license == "Apache-2.0"


def test_a_model_of_another_family_is_refused(tmp_path: Path):
    recipe = dataclasses.replace(start.trained(published("bit", tmp_path)).recipe, image_size=(32, 32))
    model = models.build(**{"size": small.FIELDS["model"]["size"], "classes": 7, "norm_epsilon": 1e-5})
    with pytest.raises(UserError, match="these weights are not the model's; the model has no: norm/bias"):
        start.parameters(objective_of(model), recipe, 0, str(tmp_path / "bit.npz"))
