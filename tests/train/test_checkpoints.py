"""Checkpoints that can be believed."""

import json
import random
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import parallel
from vit_jax.errors import UserError
from vit_jax.train import checkpoints, manifest
from vit_jax.train.checkpoints import Keeper
from vit_jax.train.steps import State
from vit_jax.weights.recipe import Recipe

RECIPE = Recipe(
    model={"size": "Ti/16", "classes": 2},
    image_size=(16, 16),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    preprocess={"kind": "squash"},
    loss="softmax",
    class_names=("cat", "dog"),
    position_resize="linear",
    source="a test",
)


def state(step: int) -> State:
    draw = np.random.default_rng(step)
    tree = {"head": {"kernel": draw.normal(size=(32, 2)).astype(np.float32), "bias": np.zeros(2, np.float32)}}
    mesh = parallel.make_mesh(8)
    whole = State(jnp.int32(step), tree, (tree, jnp.int32(step)))
    return jax.device_put(whole, parallel.shardings(mesh, whole))


def filled(folder: Path, steps=(1, 2), **options) -> Path:
    keeper = Keeper(folder, RECIPE, every=1, keep_last=9, **options)
    for step in steps:
        keeper.save(state(step))
    keeper.close()
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("two") / "checkpoints")


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_what_was_saved_comes_back_where_it_was(two: Path):
    found = checkpoints.newest(two)
    assert found and found.step == 2 and found.recipe == RECIPE
    like = state(5)
    restored = checkpoints.restore_state(found, like)
    assert_equal(restored, state(2))
    assert jax.tree.map(lambda x: x.sharding, restored) == jax.tree.map(lambda x: x.sharding, like)
    assert_equal(checkpoints.restore_parameters(found), state(2).parameters)


def test_an_average_is_what_others_read_and_the_run_gets_both(tmp_path: Path):
    averaged = state(1).replace(average=jax.tree.map(lambda leaf: leaf + 1, state(1).parameters))
    keeper = Keeper(tmp_path, RECIPE, every=1)
    keeper.save(averaged)
    keeper.close()
    found = checkpoints.find(tmp_path)
    assert_equal(checkpoints.restore_state(found, averaged), averaged)
    assert_equal(checkpoints.restore_parameters(found), averaged.average)


def files_of(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def test_flipped_bits_in_every_file_are_caught_and_the_one_before_is_used(two: Path, tmp_path: Path, caplog):
    draw = random.Random(0)
    copy = tmp_path / "checkpoints"
    shutil.copytree(two, copy)
    newest = copy / "00000002"
    assert len(files_of(newest)) > 8
    for file in files_of(newest):
        good = file.read_bytes()
        for _ in range(20):
            bad = bytearray(good or b"\0")
            bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
            file.write_bytes(bytes(bad))
            with pytest.raises(UserError):
                manifest.verified(newest)
        caplog.clear()
        found = checkpoints.newest(copy)
        assert found and found.step == 1
        assert file.name in caplog.text  # it is named
        file.write_bytes(good)
    assert checkpoints.newest(copy).step == 2


@pytest.mark.parametrize("damage", ["truncated", "emptied", "deleted"])
def test_a_damaged_file_is_caught(two: Path, tmp_path: Path, damage: str):
    copy = tmp_path / "checkpoints"
    shutil.copytree(two, copy)
    newest = copy / "00000002"
    for file in files_of(newest):
        good = file.read_bytes()
        if damage == "deleted":
            file.unlink()
        elif damage == "truncated":
            file.write_bytes(good[:-1])
        elif good:
            file.write_bytes(b"")
        else:
            continue
        if good or damage == "deleted":
            with pytest.raises(UserError, match=file.name):
                manifest.verified(newest)
        file.write_bytes(good)


def test_a_half_written_one_is_passed_over_and_removed_by_the_next_run(two: Path, tmp_path: Path, caplog):
    copy = tmp_path / "checkpoints"
    shutil.copytree(two, copy)
    (copy / "00000002" / "manifest.json").unlink()
    (copy / "00000003.orbax-checkpoint-tmp").mkdir()
    assert checkpoints.newest(copy).step == 1
    assert "00000002 was never finished" in caplog.text
    keeper = Keeper(copy, RECIPE, every=1)
    assert sorted(path.name for path in copy.iterdir()) == ["00000001"]
    keeper.save(state(2))
    keeper.close()
    assert checkpoints.newest(copy).step == 2


def test_a_damaged_one_is_set_aside_not_deleted(two: Path, tmp_path: Path):
    copy = tmp_path / "checkpoints"
    shutil.copytree(two, copy)
    (copy / "00000002" / "recipe.json").write_text("{}")
    (copy / "backup").mkdir()  # somebody's own
    for names in (["00000001", "00000002.damaged"], ["00000001", "00000002.damaged", "00000002.damaged1"]):
        keeper = Keeper(copy, RECIPE, every=1)
        assert sorted(path.name for path in copy.iterdir()) == [*names, "backup"]
        keeper.save(state(2))
        keeper.close()
        (copy / "00000002" / "recipe.json").write_text("{}")


def test_a_run_does_not_start_anew_over_nothing_but_damage(two: Path, tmp_path: Path):
    copy = tmp_path / "checkpoints"
    shutil.copytree(two, copy)
    for name in ("00000001", "00000002"):
        (copy / name / "recipe.json").write_text("{}")
    with pytest.raises(UserError, match="every checkpoint in .* is damaged; move the folder away"):
        Keeper(copy, RECIPE, every=1)
    assert sorted(path.name for path in copy.iterdir()) == ["00000001", "00000002"]


def test_the_last_and_the_best_are_kept(tmp_path: Path):
    keeper = Keeper(tmp_path, RECIPE, every=2, keep_last=2, keep_best=1)
    for step, score in ((1, 0.5), (2, 0.9), (3, 0.7), (4, None), (5, 0.8)):
        keeper.save(state(step))
        if score is not None:
            keeper.score(step, score)
    keeper.close()
    assert [path.name for path in checkpoints.step_folders(tmp_path)] == ["00000002", "00000004", "00000005"]
    assert checkpoints.find(tmp_path).step == 2
    assert checkpoints.find(tmp_path / "00000005").step == 5
    assert [step for step in range(1, 7) if keeper.due(step)] == [2, 4, 6]


def test_a_save_that_fails_is_told_and_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keeper = Keeper(tmp_path, RECIPE, every=1)
    keeper.save(state(1))
    keeper.wait()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest, "write", full)
    keeper.save(state(2))
    with pytest.raises(OSError, match="No space left"):
        keeper.wait()
    keeper.close()
    assert checkpoints.newest(tmp_path).step == 1


def test_a_score_is_noted_without_touching_the_arrays(tmp_path: Path):
    keeper = Keeper(tmp_path, RECIPE, every=1)
    keeper.save(state(1))
    keeper.wait()
    before = manifest.verified(tmp_path / "00000001")
    keeper.score(1, 0.25)
    keeper.close()
    after = manifest.verified(tmp_path / "00000001")
    assert (before.score, after.score) == (None, 0.25)
    assert before.hashes == after.hashes


def test_nothing_good_is_an_error(tmp_path: Path):
    with pytest.raises(UserError, match="no good checkpoint in .*; give a run's workdir"):
        checkpoints.find(tmp_path)


def test_a_manifest_lists_every_file(two: Path):
    stated = json.loads((two / "00000001" / "manifest.json").read_text())["sha256"]
    there = {str(file.relative_to(two / "00000001")) for file in files_of(two / "00000001")}
    assert there - set(stated) == {"manifest.json"}
