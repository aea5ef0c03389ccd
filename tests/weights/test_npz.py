import os
import pickle
import random
import tracemalloc
import zipfile
import zlib

import hostile
import ml_dtypes
import numpy as np
import pytest
from hostile import npy

from vit_jax.errors import UserError
from vit_jax.weights.files import npz

ARRAYS = {
    "block/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "scalar": np.float32(3),
    "none": np.zeros((0, 4), np.float16),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_wrote(path, save):
    save(path, **ARRAYS)
    arrays, _ = npz.read(path)
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_python_objects_are_refused_and_do_not_run(path, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    np.savez(path, trap=np.array([Trap()], dtype=object))
    with pytest.raises(UserError, match="trap.npy holds Python objects"):
        npz.read(path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_no_npz(path):
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"is no whole \.npz file"):
        npz.read(path)


def test_too_large_a_file_is_refused_before_it_is_unpacked(path):
    np.savez_compressed(path, zeros=np.zeros(2**24, np.float32))
    assert path.stat().st_size < 2**17
    tracemalloc.start()
    with pytest.raises(UserError, match=r"unpacks to 67,108,992 bytes, more than the 67,108,864 allowed"):
        npz.read(path, most_bytes=2**26)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (hostile.claiming("(4000000000000,)"), r"claims shape \(4000000000000,\) of float32 and holds 16 bytes"),
        (hostile.claiming("(4294967296, 4294967296, 4)"), "claims shape"),  # whose product is 0 in 64 bits
        (hostile.claiming("(0, 99999999999999999999)"), "is no whole"),
        (hostile.claiming("(-4,)"), "odd header"),
        (hostile.claiming("(4, ")[:-16], "odd header"),
        (hostile.claiming("(4,)", "O"), "holds Python objects"),
        (hostile.claiming("(4,)", "|O"), "holds Python objects"),
        (hostile.claiming("(4,)", "<U1"), "an array of <U1, wanted numbers"),
        (hostile.claiming("(4,)", ">f4"), "an array of >f4"),
        (hostile.claiming("(1000000,)", "|V0"), "wanted numbers"),
        (npy(np.zeros(2, [("a", "f4"), ("b", "f4")])), "odd header"),
        (hostile.npy_of(b"(" * 9000), "odd header"),
        (hostile.npy_of(b"-" * 9000 + b"1"), "odd header"),
        (hostile.npy_of(b"__import__('os').mkdir('ran')"), "odd header"),
        (hostile.npy_of(b" " * 2**20, version=2), "odd header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "odd header"),
        (b"\x93NUMPY\x09\x00" + bytes(200), "odd header"),
        (b"\x93NUM", "magic"),
        (b"", "magic"),
    ],
    ids=range(19),
)
def test_a_header_that_claims_what_is_not_there_allocates_nothing(path, array, message):
    path.write_bytes(hostile.npz(array))
    tracemalloc.start()
    with pytest.raises(UserError, match=message):
        npz.read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_versions_that_numpy_writes_for_long_headers_and_names_are_read(path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), } \n"
    for version in (1, 2, 3):
        path.write_bytes(hostile.npz(hostile.npy_of(header, np.arange(4, dtype=np.float32).tobytes(), version)))
        np.testing.assert_array_equal(npz.read(path)[0]["a"], [[0, 1, 2, 3]])


@pytest.mark.parametrize("descr", ["|V2", "<V2"])
def test_the_two_bytes_without_a_name_are_bfloat16(path, descr):
    bits = np.arange(2**16, dtype=np.uint16)
    path.write_bytes(hostile.npz(hostile.claiming("(256, 256)", descr, bits.tobytes())))
    array = npz.read(path)[0]["a"]
    assert array.dtype == ml_dtypes.bfloat16 and array[0x3F, 0x80] == 1 and array[0xC0, 0x40] == -3
    again = path.with_name("again.npz")
    npz.write(again, {"a": array}, {})
    np.testing.assert_array_equal(npz.read(again)[0]["a"].view(np.uint16), bits.reshape(256, 256))
    assert np.load(again)["a"].tobytes() == bits.tobytes()


def test_what_is_written_is_what_numpy_reads(path):
    npz.write(path, ARRAYS, {"recipe": {"mean": [0.5]}})
    with np.load(path) as arrays:
        assert set(arrays) == set(ARRAYS)
        for name, array in ARRAYS.items():
            assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
            np.testing.assert_array_equal(arrays[name], array)
    assert npz.read(path)[1] == {"recipe": {"mean": [0.5]}}


def test_notes_without_room_are_left_out_and_said(path, caplog):
    noise = random.Random(0).randbytes(50_000).hex()
    npz.write(path, ARRAYS, {"recipe": {"mean": [0.5]}, "activations": noise, "provenance": noise[:90_000]})
    assert npz.read(path)[1] == {"recipe": {"mean": [0.5]}, "provenance": noise[:90_000]}
    assert caplog.messages == ["an .npz has no room for its activations, which is left out; .safetensors has"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'["recipe"]', "holds a list, wanted an object"),
        (b'{"recipe": 1, "recipe": 2}', "a key twice"),
        (b'{"recipe": ', "Expecting value"),
        (b"\xff", "codec"),
        (b"[" * 10**6, "nested too deep"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "nested too deep"),
        (b" " * 2**24, "cut short, or too long"),
    ],
    ids=["list", "twice", "cut", "utf-8", "nest", "levels", "bomb"],
)
def test_a_comment_that_holds_no_notes_is_refused(path, text, message):
    path.write_bytes(hostile.npz(npy(np.zeros(2)), comment=npz.MARK + zlib.compress(text)))
    with pytest.raises(UserError, match=message):
        npz.read(path)


def test_a_comment_of_others_is_passed_over(path):
    path.write_bytes(hostile.npz(npy(np.zeros(2)), comment=b"packed by hand"))
    assert npz.read(path)[1] == {}


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_packed_as_numpy_never_does_is_refused(path, packing):
    path.write_bytes(hostile.npz(npy(np.zeros(2)), packing=packing))
    with pytest.raises(UserError, match="packed otherwise than NumPy packs"):
        npz.read(path)


def test_a_member_that_unpacks_to_less_or_more_than_its_archive_claims_is_refused(path):
    packed = hostile.zeros_packed(1)
    for claimed in (2**21, 2**19, 2**10, 7):
        path.write_bytes(hostile.archive_of(packed, claimed))
        with pytest.raises(UserError, match="is no whole"):
            npz.read(path)


def test_more_names_than_any_model_has_are_refused_before_they_are_read(path):
    path.write_bytes(hostile.archive_of(b"", 0, repeats=10**5))
    with pytest.raises(UserError, match="a part of 5,100,000 bytes"):
        npz.read(path)


@pytest.fixture
def whole(path):
    arrays = {"a/kernel": np.random.default_rng(0).standard_normal((3, 5), np.float32), "b": np.arange(3)}
    npz.write(path, arrays, {"recipe": {"mean": [0.5, 0.25]}})
    return path.read_bytes()


def same(found, wanted):
    (arrays, notes), (wanted_arrays, wanted_notes) = found, wanted
    return notes == wanted_notes and {name: (a.dtype, a.tobytes()) for name, a in arrays.items()} == {
        name: (a.dtype, a.tobytes()) for name, a in wanted_arrays.items()
    }


def test_a_file_cut_anywhere_is_refused(path, whole):
    for length in {*range(0, len(whole), 9), *range(len(whole) - 90, len(whole))}:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="is no whole"):
            npz.read(path)


def test_a_flipped_bit_is_noticed_or_changes_nothing(path, whole):
    wanted, noticed = npz.read(path), 0
    mark = whole.rindex(npz.MARK)  # without which our notes are a comment of others
    for place in {*range(0, mark, 5), *range(whole.index(b"PK\1\2"), len(whole))} - {
        *range(mark, mark + len(npz.MARK))
    }:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert same(npz.read(path), wanted), place
        except UserError:
            noticed += 1
    assert noticed > 150  # the rest are dates, versions and permissions


def test_damage_is_a_user_error_and_nothing_else(path, whole):
    refused = 0
    for damaged in hostile.mutations(whole, 250, seed=0):
        path.write_bytes(damaged)
        try:
            arrays, _ = npz.read(path)
            assert all(isinstance(array, np.ndarray) for array in arrays.values())
        except UserError as error:
            refused += 1
            assert len(str(error)) < 500 and "\n" not in str(error)
    assert refused > 200


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("readme.txt", b"hello")], "holds readme.txt, wanted an .npz of arrays only"),
        ([], "holds nothing"),
        ([("a.npy", b"not an array")], "is no whole .npz file"),
        ([("a.npy", npy(np.zeros(2))[:-1])], "claims shape"),
        ([("a.npy", npy(np.zeros(2))), ("a.npy", npy(np.ones(2)))], "two arrays of the same name"),
    ],
    ids=["text", "empty", "garbage", "short", "twice"],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_numpy_did_not_write_are_refused(path, members, message):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    with pytest.raises(UserError, match=message):
        npz.read(path)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(UserError, match=r"cannot read weights from .*absent.npz: No such file"):
        npz.read(tmp_path / "absent.npz")
    with pytest.raises(UserError, match="Is a directory"):
        npz.read(tmp_path)
