import pytest

from vit_jax.__main__ import main

beam = pytest.importorskip("apache_beam", reason="Apache Beam brings an older protobuf; CI installs the extra alone")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]  # Beam's own


def prepare(out, *options):
    words = ["data", "prepare", "--config=configs/scratch.py", "--config.source={'kind': 'digits'}", "--name=digits"]
    return main([*words, "--splits=train,test", "--shards=4", f"--out={out}", *options])


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_beam_makes_the_same_bytes_and_only_what_is_missing(tmp_path, capsys):
    assert prepare(tmp_path / "alone") == 0
    assert prepare(tmp_path / "beam", "--beam=--runner=DirectRunner --direct_num_workers=2") == 0
    wanted = files_of(tmp_path / "alone")
    assert files_of(tmp_path / "beam") == wanted

    (tmp_path / "beam" / "digits-train.array_record-00002-of-00004").unlink()
    kept = tmp_path / "beam" / "digits-train.array_record-00001-of-00004"
    inode = kept.stat().st_ino
    assert prepare(tmp_path / "beam", "--beam=--runner=DirectRunner") == 0
    assert files_of(tmp_path / "beam") == wanted
    assert kept.stat().st_ino == inode


def test_a_runner_that_is_none_is_a_line(tmp_path, capsys):
    assert prepare(tmp_path / "out", "--beam=--runner=NoRunner") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: Apache Beam: ")
    assert not (tmp_path / "out" / "manifest.json").exists()
