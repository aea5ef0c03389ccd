import io
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from vit_jax.errors import UserError
from vit_jax.weights import npz

ARRAYS = {
    "block/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "scalar": np.float32(3),
    "none": np.zeros((0, 4), np.float16),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.npz"


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


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


def test_a_header_that_claims_more_than_is_there_allocates_nothing(path):
    header = npy(np.zeros(4, np.float32)).replace(b"(4,), }" + b" " * 12, b"(4000000000000,), }")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bomb.npy", header)
    with pytest.raises(UserError, match=r"claims shape \(4000000000000,\) of float32 and holds 16 bytes"):
        npz.read(path)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, keep):
    np.savez(path, **ARRAYS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match="download it again"):
        npz.read(path)


def test_a_flipped_bit_is_refused(path):
    np.savez(path, kernel=np.full(1000, 7, np.float32))
    damaged = bytearray(path.read_bytes())
    damaged[2000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="CRC"):
        npz.read(path)


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
