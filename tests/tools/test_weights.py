"""`weights`: doctor, verify, convert, as they are typed."""

from pathlib import Path

import numpy as np
import pytest
import small

import vit_jax
from vit_jax.__main__ import main
from vit_jax.weights import files, formats

GOLDEN = Path(__file__).parents[1] / "golden"
HEAD = "head/kernel"


def published(name, folder, **changes):
    """Writes the weights of a golden file, some of them changed, as Google would have; returns their path."""
    golden = dict(np.load(GOLDEN / f"{name}.npz"))
    arrays = {key.removeprefix("weights/"): array for key, array in golden.items() if key.startswith("weights/")}
    arrays |= {key.replace("__", "/"): change(arrays[key.replace("__", "/")]) for key, change in changes.items()}
    np.savez(folder / f"{name}.npz", **arrays)
    return str(folder / f"{name}.npz")


def said(capsys, *arguments):
    """Returns the exit code and what was printed, errors too."""
    code = main(["weights", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_doctor_says_what_a_file_is(tmp_path, capsys):
    code, text = said(capsys, "doctor", published("hybrid", tmp_path))
    assert code == 0
    assert "format        google" in text
    assert "157,383 parameters" in text
    assert "32x32, squash" in text and "pixel / 255 - 0.5, divided by 0.5" in text
    assert "24 norms with the axes of a map" in text and "squeezed" in text
    code, text = said(capsys, "doctor", published("bit", tmp_path))
    assert code == 0 and "format        bit" in text


def test_doctor_names_what_is_odd(tmp_path, capsys):
    code, text = said(capsys, "doctor", published("vit_class_token", tmp_path, head__kernel=np.zeros_like))
    assert code == 0 and "the head is all zeros" in text and "good for fine-tuning" in text
    merged = dict(np.load(published("vit_class_token", tmp_path)))
    table = "Transformer/posembed_input/pos_embedding"
    np.savez(tmp_path / "merged.npz", **merged | {table: merged[table][:, 1:]})
    code, text = said(capsys, "doctor", tmp_path / "merged.npz")
    assert code == 0 and "the class token has no position of its own" in text
    halves = {name: array.astype(np.float16) for name, array in merged.items()}
    np.savez(tmp_path / "halves.npz", **halves)
    assert "arrays that are not all float32: 56 of float16" in said(capsys, "doctor", tmp_path / "halves.npz")[1]
    dead = {"Transformer/encoderblock_1/LayerNorm_0/scale": np.zeros(24, np.float32)}
    np.savez(tmp_path / "dead.npz", **merged | dead)
    text = said(capsys, "doctor", tmp_path / "dead.npz")[1]
    assert "arrays of zeros alone: encoder/block01/norm_attention/scale" in text


def test_doctor_refuses_what_cannot_be_used(tmp_path, capsys):
    arrays = dict(np.load(published("vit_class_token", tmp_path)))
    np.savez(tmp_path / "nan.npz", **arrays | {"head/bias": np.full(7, np.nan, np.float32)})
    code, text = said(capsys, "doctor", tmp_path / "nan.npz")
    assert code == 1 and "values that are not numbers, in head/bias" in text
    del arrays["head/bias"]
    np.savez(tmp_path / "lacks.npz", **arrays, optimizer=np.ones(3, np.float32))
    code, text = said(capsys, "doctor", tmp_path / "lacks.npz")
    assert code == 1 and "unknown: optimizer" in text and "the file is not read" in text
    np.savez(tmp_path / "lacks.npz", **arrays)
    code, text = said(capsys, "doctor", tmp_path / "lacks.npz")
    assert code == 1 and "the weights lack: head/bias" in text


def test_a_converted_file_is_the_same_and_verifies(tmp_path, capsys):
    source, target = published("vit_class_token", tmp_path), tmp_path / "converted.npz"
    code, text = said(capsys, "convert", source, target, "--to=google")
    assert code == 0 and "read again it computes the same" in text
    before, after = dict(np.load(source)), dict(np.load(target))
    assert before.keys() == after.keys()
    assert all(before[name].dtype == after[name].dtype for name in before)
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
    code, text = said(capsys, "verify", target)
    assert code == 0 and "\nequal: at most" in text and "stored by vit_jax" in text
    code, text = said(capsys, "convert", source, target, "--to=google")
    assert code == 2 and "exists already" in text
    assert dict(np.load(target)).keys() == before.keys()


def test_verify_names_the_first_block_that_departs(tmp_path, capsys):
    target = tmp_path / "converted.npz"
    said(capsys, "convert", published("vit_class_token", tmp_path), target, "--to=google")
    file = files.read(target)
    name = "Transformer/encoderblock_1/MlpBlock_3/Dense_1/bias"
    changed = {**file.arrays, name: file.arrays[name] + np.float32(1e-3)}
    files.write(files.File(changed, notes=file.notes), tmp_path / "changed.npz")
    code, text = said(capsys, "verify", tmp_path / "changed.npz")
    assert code == 1 and "departs at block01" in text


def test_verify_notices_bits_that_no_block_shows(tmp_path, capsys):
    target = tmp_path / "converted"
    code, text = said(capsys, "convert", published("vit_class_token", tmp_path), target, "--to=timm")
    assert code == 0, text
    assert said(capsys, "verify", target)[0] == 0
    content = bytearray((target / "model.safetensors").read_bytes())
    content[-4] ^= 1  # the last bit of the last float32
    (target / "model.safetensors").write_bytes(content)
    code, text = said(capsys, "verify", target)
    assert code == 1 and "bits of the arrays: CHANGED" in text and "\nequal: at most" in text
    code, text = said(capsys, "verify", tmp_path / "vit_class_token.npz")
    assert "bits of the arrays" not in text  # nobody wrote down what they were


def test_a_format_is_written_where_it_is_read(tmp_path, capsys):
    source = published("vit_class_token", tmp_path)
    code, text = said(capsys, "convert", source, tmp_path / "out.npz", "--to=timm")
    assert code == 2 and "timm files are a folder, for its config.json; got " in text
    code, text = said(capsys, "convert", source, tmp_path / "out", "--to=google")
    assert code == 2 and "google files are one .npz; got " in text
    assert [file.name for file in tmp_path.iterdir()] == ["vit_class_token.npz"]


def test_a_run_converts_with_its_recipe(tmp_path, capsys):
    small.train(tmp_path / "run", steps=2)
    code, _ = said(capsys, "convert", tmp_path / "run", tmp_path / "run.npz", "--to=google")
    assert code == 0
    loaded = formats.load(files.read(tmp_path / "run.npz"))
    assert loaded.recipe.class_names == tuple(map(str, range(10)))
    assert loaded.recipe.image_size == (8, 8)
    code, text = said(capsys, "doctor", tmp_path / "run.npz")
    assert code == 0 and f"written by    vit_jax {vit_jax.__version__}, from run\n" in text


def test_where_nobody_can_say_verify_says_so(tmp_path, capsys):
    code, text = said(capsys, "verify", published("bit", tmp_path))
    assert code == 3 and "not verifiable here" in text


def test_names_are_listed_by_pattern(capsys):
    code, text = said(capsys, "list", "google:sam/*")
    assert code == 0 and text.splitlines() == ["google:sam/ViT-B_16", "google:sam/ViT-B_32"]
    code, text = said(capsys, "list", "*nothing*")
    assert code == 1 and text == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verfy", "x"], 'unknown action of weights "verfy". Did you mean "verify"?'),
        (["doctor", "absent.npz"], "absent.npz: No such file"),
        (["convert", "a.npz", "b.npz", "--to=goggle"], "invalid choice: 'goggle'"),
        (["doctor"], "the following arguments are required: file"),
    ],
)
def test_a_typing_mistake_is_one_line(arguments, message, capsys):
    code, text = said(capsys, *arguments)
    assert code == 2 and message in text and len(text.strip().splitlines()) == 1
