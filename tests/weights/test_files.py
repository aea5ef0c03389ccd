import errno
import json
import os
import re
import resource
import subprocess
import sys
import threading
import zlib

import hostile
import ml_dtypes
import numpy as np
import pytest
from hostile import entry

from vit_jax import __main__
from vit_jax.errors import UserError
from vit_jax.weights import files
from vit_jax.weights.files import File, npz, safetensors

ARRAYS = {
    "a/kernel": np.random.default_rng(0).standard_normal((3, 5), np.float32),
    "a/bias": np.array([1.5, -2], ml_dtypes.bfloat16),
    "count": np.array(3),
}
FINE = hostile.safetensors({"a": entry([2], 0, 8)}, bytes(8))
LISTS = b"[" + b"[]," * 2_500_000 + b"0]"

BOMB = npz.MARK + zlib.compress(bytes(2**25))

# What must be refused with little memory: files by name, the one that is read, what is said.
UNDER_A_LIMIT = {
    "deflate": ({"x.npz": hostile.archive_of(hostile.zeros_packed(4000), 4_194_304_061)}, "x.npz", "unpacks to"),
    "understated": ({"x.npz": hostile.archive_of(hostile.zeros_packed(4000), 2**25)}, "x.npz", "claims shape"),
    "quoted": ({"x.npz": hostile.archive_of(hostile.zeros_packed(10), 10_485_818, repeats=999)}, "x.npz", "unpacks to"),
    "claim": ({"x.npz": hostile.npz(hostile.claiming("(999999999999,)"))}, "x.npz", "claims shape"),
    "header": ({"x.npz": hostile.npz(hostile.npy_of(b" " * 2**26, version=2))}, "x.npz", "unpacks to|odd header"),
    "literal": ({"x.npz": hostile.npz(hostile.npy_of(b"(" * 9_999))}, "x.npz", "odd header"),
    "members": ({"x.npz": hostile.archive_of(b"", 0, repeats=10**6)}, "x.npz", "a part of"),
    "notes": ({"x.npz": hostile.npz(hostile.claiming("(4,)"), comment=BOMB)}, "x.npz", "too long"),
    "terabytes": (
        {"x.safetensors": hostile.safetensors({"a": entry([2**40], 0, 2**42)}, b"")},
        "x.safetensors",
        "take",
    ),
    "long": ({"x.safetensors": hostile.safetensors(b" " * 2**24)}, "x.safetensors", "header claims 16,777,216"),
    "lists": ({"x.safetensors": hostile.safetensors(b'{"a": ' + LISTS + b"}")}, "x.safetensors", "another form"),
    "nested": ({"x.safetensors": hostile.safetensors(b'{"a":' * 10**6)}, "x.safetensors", "nested too deep"),
    "config": (
        {"model.safetensors": FINE, "config.json": bytes(2**24)},
        ".",
        "config.json is no whole JSON object .*more than",
    ),
    "config-lists": (
        {"model.safetensors": FINE, "config.json": LISTS},
        ".",
        "config.json is no whole JSON object .*holds a list",
    ),
    "index": ({files.INDEX: bytes(2**24)}, ".", "index.json is no whole JSON object .*more than"),
}
READ_ALL = """
import json, resource, sys, time
from vit_jax.errors import UserError
from vit_jax.weights import files
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 400 * 2**20,) * 2)
for path in sys.argv[1:]:
    started = time.monotonic()
    try:
        said = f"read {len(files.read(path).arrays)} arrays"
    except UserError as error:
        said = f"refused: {error}"
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    print(json.dumps({"said": said, "seconds": time.monotonic() - started}), flush=True)
"""


def put(folder, contents):
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What a process with 400 MB to spare says to each hostile file, and to one that is fine."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = [put(folder / name, contents) / read for name, (contents, read, _) in UNDER_A_LIMIT.items()]
    fine = put(folder / "fine", {"model.safetensors": FINE})
    command = [sys.executable, "-c", READ_ALL, *map(str, [*paths, fine])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return dict(zip([*UNDER_A_LIMIT, "fine"], map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", UNDER_A_LIMIT)
def test_a_hostile_file_is_refused_in_a_line_with_little_memory_and_soon(answers, name):
    assert re.match(f"refused: .*({UNDER_A_LIMIT[name][2]})", answers[name]["said"])
    assert "\n" not in answers[name]["said"] and len(answers[name]["said"]) < 600
    assert answers[name]["seconds"] < 5
    assert answers["fine"]["said"] == "read 1 arrays"


def test_a_command_says_so_in_one_line_and_exits_with_2(tmp_path, capsys):
    name = "block\n\x1b[2J\x1b[31merror: all is well"
    (tmp_path / "x.safetensors").write_bytes(hostile.safetensors({name: entry([2], 0, 8)}, bytes(8)))
    (tmp_path / "image.png").write_bytes(b"")
    for path in (tmp_path / "x.safetensors", tmp_path / "absent.npz"):
        code = __main__.main(["predict", "--workdir", str(path), str(tmp_path / "image.png")])
        said = capsys.readouterr().err
        assert code == 2 and said.startswith("error: ") and said.count("\n") == 1 and "\x1b" not in said


@pytest.mark.parametrize(
    ("contents", "read", "message"),
    [
        ({}, "absent.npz", r"cannot read weights from .*absent\.npz: No such file or directory"),
        ({}, "absent.safetensors", r"cannot read weights from .*absent\.safetensors: No such file or directory"),
        (
            {},
            "absent",
            r"absent does not exist; wanted a name in \.npz, \.safetensors, \.pth, \.pt, \.bin, or a folder",
        ),
        ({"x.h5": b""}, "x.h5", r"x\.h5 is no file of weights; wanted a name in \.npz"),
        (
            {"notes.txt": b""},
            ".",
            r"holds no model\.safetensors, pytorch_model\.bin or model\.safetensors\.index\.json",
        ),
        (
            {"x.safetensors": FINE, "config.json": []},
            "x.safetensors",
            "config.json is no whole JSON object .*holds a list, wanted an object",
        ),
        (
            {"x.safetensors": FINE, "config.json": b"{"},
            "x.safetensors",
            "config.json is no whole JSON object .*Expecting",
        ),
        (
            {"x.safetensors": FINE, "config.json": b"\xff\xfe{"},
            "x.safetensors",
            "config.json is no whole JSON object .*codec",
        ),
        (
            {"x.safetensors": FINE, "preprocessor_config.json": b'"a"'},
            "x.safetensors",
            "preprocessor_config.json is no whole",
        ),
        (
            {"x.safetensors": hostile.safetensors({"a\n": entry([2], 0, 8)}, bytes(8))},
            "x.safetensors",
            r"1 arrays of names that are no names, such as 'a\\n'",
        ),
        ({"x.safetensors": hostile.safetensors({"a" * 301: entry([2], 0, 8)}, bytes(8))}, "x.safetensors", "no names"),
        ({"x.safetensors": hostile.safetensors({"\ud800": entry([2], 0, 8)}, bytes(8))}, "x.safetensors", "no names"),
    ],
    ids=range(12),
)
def test_what_is_not_weights_is_said_in_a_line(tmp_path, contents, read, message):
    with pytest.raises(UserError, match=message) as caught:
        files.read(put(tmp_path / "here", contents) / read)
    assert "\n" not in str(caught.value)


def test_places_that_are_no_files_are_said_in_a_line(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UserError, match=r"folder\.npz holds no model\.safetensors"):
        files.read(tmp_path / "folder.npz")
    assert not files.is_weights(tmp_path / "folder.npz")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UserError, match=r"pipe\.npz is not a file"):
        files.read(tmp_path / "pipe.npz")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    with pytest.raises(UserError, match=r"cannot read weights from .*loop\.npz: Too many levels of symbolic links"):
        files.read(tmp_path / "loop.npz")
    (tmp_path / "itself").mkdir()
    (tmp_path / "itself" / "model.safetensors").symlink_to(".")
    with pytest.raises(UserError, match=r"model\.safetensors is not a file"):
        files.read(tmp_path / "itself")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["x.npz", "x.safetensors"])
def test_a_file_that_may_not_be_read_is_said(tmp_path, name):
    (tmp_path / name).touch(mode=0)
    with pytest.raises(UserError, match="cannot read weights from .*: Permission denied"):
        files.read(tmp_path / name)


def test_a_config_beside_an_npz_is_not_its_own(tmp_path):
    npz.write(tmp_path / "x.npz", ARRAYS, {})
    (tmp_path / "config.json").write_text("[]")
    assert files.read(tmp_path / "x.npz").config == {}


def shards(folder, weight_map, held):
    contents = {
        name: hostile.safetensors(
            {array: entry([1], 4 * n, 4 * n + 4) for n, array in enumerate(arrays)}, bytes(4 * len(arrays))
        )
        for name, arrays in held.items()
    }
    return put(folder, contents | {files.INDEX: {"weight_map": weight_map}})


def test_shards_are_read_as_one_even_where_they_are_links(tmp_path):
    one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    folder = shards(tmp_path / "here", {"a": one, "b": two, "c": one}, {one: "ac", two: "b"})
    (folder / two).rename(tmp_path / "blob")
    (folder / two).symlink_to("../blob")  # as in Hugging Face's cache
    assert files.is_weights(folder)
    assert set(files.read(folder).arrays) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (
            {"a": "../outside.safetensors"},
            "names the file '../outside.safetensors', which is no .safetensors in",
        ),
        ({"a": "/etc/outside.safetensors"}, "its own folder"),
        ({"a": "..\\outside.safetensors"}, "its own folder"),
        ({"a": "C:outside.safetensors"}, "its own folder"),
        ({"a": "sub/x.safetensors"}, "its own folder"),
        ({"a": ".."}, "its own folder"),
        ({"a": "."}, "its own folder"),
        ({"a": ""}, "its own folder"),
        ({"a": "pytorch_model.bin"}, "its own folder"),
        ({"a": "x.safetensors\n"}, "its own folder"),
        ({"a": "x.safetensors\0"}, "its own folder"),
        ({"a": "absent.safetensors"}, "cannot read weights from .*absent.safetensors: No such file"),
        ({"a": 3}, "has no weight_map"),
        ({"a": ["x.safetensors"]}, "has no weight_map"),
        (["x.safetensors"], "has no weight_map"),
        ({"b": "x.safetensors"}, "and x.safetensors differ in 2 arrays, such as a;"),
        ({"a": "x.safetensors", "b": "x.safetensors"}, "differ in 1 arrays, such as b;"),
        ({"a": "x.safetensors", "b": "y.safetensors"}, "and y.safetensors differ in 1 arrays, such as a;"),
    ],
    ids=range(18),
)
def test_an_index_that_climbs_out_or_lies_is_refused(tmp_path, weight_map, message):
    put(tmp_path, {"outside.safetensors": FINE})
    folder = shards(tmp_path / "here", weight_map, {"x.safetensors": "a", "y.safetensors": "ab"})
    with pytest.raises(UserError, match=message):
        files.read(folder)


def test_a_recipe_that_is_none_is_refused():
    for notes in ({"recipe": []}, {"recipe": "B/16"}, {"recipe": {}}, {"recipe": {"mean": [10**400] * 3}}):
        with pytest.raises(UserError, match="a recipe"):
            _ = File({}, notes=notes).recipe
    assert File({}).recipe is None


@pytest.mark.parametrize("name", ["x.npz", "x"])
def test_what_is_written_is_read_again_with_its_digest(tmp_path, name):
    files.write(File(ARRAYS, {"depth": 1}, {"größe": 2}, {"provenance": "a test"}), tmp_path / "deeper" / name)
    found = files.read(tmp_path / "deeper" / name)
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in found.arrays.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in ARRAYS.items()
    }
    assert found.notes == {"provenance": "a test", "sha256": files.digest(ARRAYS)}
    assert (found.config, found.preprocessor) == (({}, {}) if name == "x.npz" else ({"depth": 1}, {"größe": 2}))
    assert [path.name for path in (tmp_path / "deeper").iterdir()] == [name]


def test_a_digest_tells_every_bit_name_shape_and_dtype():
    whole = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(1, np.int16)}
    others = [whole | {"a": whole["a"].reshape(3, 2)}, whole | {"a": whole["a"].view(np.int32)}, {"a": whole["a"]}]
    others += [{"a": whole["a"], "c": whole["b"]}, whole | {"b": np.array([1], np.int16)}]
    for place in range(24):
        damaged = bytearray(whole["a"].tobytes())
        damaged[place] ^= 1 << place % 8
        others.append(whole | {"a": np.frombuffer(damaged, np.float32).reshape(2, 3)})
    digests = {files.digest(arrays) for arrays in [whole, *others]}
    assert len(digests) == 1 + len(others)
    assert files.digest({"b": whole["b"], "a": np.asfortranarray(whole["a"])}) == files.digest(whole)


def test_a_flipped_bit_in_safetensors_is_seen_by_the_digest_alone(tmp_path):
    files.write(File(ARRAYS), tmp_path / "x")
    path = tmp_path / "x" / "model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-30] ^= 4
    path.write_bytes(damaged)
    found = files.read(tmp_path / "x")
    assert files.digest(found.arrays) != found.notes["sha256"] == files.digest(ARRAYS)


@pytest.mark.parametrize("name", ["x.npz", "x"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_write_that_failed(tmp_path, monkeypatch, name, error):
    def fail(path, arrays, notes):
        path.write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(npz, "write", fail)
    monkeypatch.setattr(safetensors, "write", fail)
    with pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        files.write(File(ARRAYS), tmp_path / name)
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write {tmp_path / name}: No space left on device"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.npz", "x"])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path, name):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))  # bytes a file; Python ignores the signal
    try:
        with pytest.raises(UserError, match=r"cannot write .*: File too large"):
            files.write(File({"a": np.zeros(2**20, np.float32)}), tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.npz", "x"])
def test_nothing_is_written_over(tmp_path, name):
    place = tmp_path / name
    place.write_bytes(b"mine") if name == "x.npz" else put(place, {"mine": b""})
    with pytest.raises(UserError, match="exists already; remove it, or write to another place"):
        files.write(File(ARRAYS), place)
    assert list(tmp_path.iterdir()) == [place] and (place.is_dir() or place.read_bytes() == b"mine")


@pytest.mark.parametrize("name", ["x.npz", "x"])
def test_of_many_writers_at_once_one_succeeds_and_its_file_is_whole(tmp_path, name):
    arrays = [{"a": np.full(1000, number, np.float32)} for number in range(8)]
    start, failed = threading.Barrier(8), []

    def write(mine):
        start.wait()
        try:
            files.write(File(mine), tmp_path / name)
        except UserError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=write, args=(mine,)) for mine in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 7
    assert all("exists" in said or "not empty" in said for said in failed)
    found = files.read(tmp_path / name)
    assert found.notes["sha256"] == files.digest(found.arrays)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.safetensors", "would be a folder that holds a model.safetensors; name it without .safetensors"),
        ("x.pth", "name it without .pth"),
        ("gs://bucket/x.npz", "weights are written to a local place"),
        ("file/x.npz", "cannot write .*: Not a directory|File exists"),
        ("a" * 300 + ".npz", "cannot write .*: File name too long"),
    ],
    ids=range(5),
)
def test_places_that_nothing_is_written_to(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=message):
        files.write(File(ARRAYS), name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
