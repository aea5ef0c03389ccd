import json
import math
import tracemalloc

import hostile
import ml_dtypes
import numpy as np
import pytest
from hostile import entry

from vit_jax.errors import UserError
from vit_jax.weights.files import safetensors

# A file as the format's page lays it out, by hand: 1.5 and -2 in bfloat16, a scalar, an empty array, a padded header.
HEADER = {
    "__metadata__": {"format": "pt"},
    "scalar": {"dtype": "F64", "shape": [], "data_offsets": [0, 8]},
    "bfloat": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [8, 12]},
    "größe/ψ": {"dtype": "BOOL", "shape": [3], "data_offsets": [12, 15]},
    "none": {"dtype": "F16", "shape": [0, 4], "data_offsets": [15, 15]},
}
DATA = b"\x00\x00\x00\x00\x00\x00\xe0?" + b"\xc0\x3f\x00\xc0" + b"\x01\x00\x01"
ARRAYS = {
    "scalar": np.array(0.5),
    "bfloat": np.array([[1.5], [-2]], ml_dtypes.bfloat16),
    "größe/ψ": np.array([True, False, True]),
    "none": np.zeros((0, 4), np.float16),
}
# Of every dtype, with shapes that no other array has.
EVERY = {
    name: np.arange(6 * size * dtype.itemsize, dtype=np.uint8).view(dtype).reshape(size, 2, 3)
    for size, (name, dtype) in enumerate(safetensors.DTYPES.items(), 1)
    if name != "BOOL"
} | ARRAYS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


def test_a_file_made_by_hand_is_read(path):
    path.write_bytes(hostile.safetensors(HEADER, DATA))
    arrays, notes = safetensors.read(path)
    assert_same(arrays, ARRAYS)
    assert notes == {}


def test_a_header_may_be_padded_and_arrays_lie_anywhere(path):
    for padding in range(8):
        text = json.dumps(HEADER).encode() + b" " * padding
        path.write_bytes(hostile.safetensors(text, DATA))
        assert_same(safetensors.read(path)[0], ARRAYS)


def test_what_is_written_is_aligned_and_read_again(path):
    safetensors.write(path, EVERY, {"recipe": {"mean": [0.5]}})
    arrays, notes = safetensors.read(path)
    assert_same(arrays, EVERY)
    assert notes == {"recipe": {"mean": [0.5]}}
    assert all(array.flags.aligned for array in arrays.values())


def test_arrays_are_written_row_by_row_wherever_they_lie_in_memory(path):
    wide = np.arange(24.0).reshape(4, 6)
    safetensors.write(path, {"fortran": np.asfortranarray(wide), "strided": wide[::2, ::3].T}, {})
    assert_same(safetensors.read(path)[0], {"fortran": wide, "strided": np.array([[0.0, 12], [3, 15]])})


def test_arrays_stay_on_the_disk_until_they_are_used(path):
    safetensors.write(path, {"large": np.zeros(2**22, np.float32)}, {})
    tracemalloc.start()
    arrays, _ = safetensors.read(path)
    assert arrays["large"].nbytes == 2**24
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("dtype", [">f4", np.complex64, ml_dtypes.float8_e4m3fn, object])
def test_a_dtype_that_the_format_lacks_is_not_written(path, dtype):
    with pytest.raises(UserError, match=r"^odd is of dtype .*; a \.safetensors file holds float64, "):
        safetensors.write(path, {"odd": np.zeros(2, dtype)}, {})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": entry([10**12], 0, 4 * 10**12)}, "its arrays take 4,000,000,000,000 bytes, 16 are there"),
        ({"a": entry([10**12], 0, 16)}, "claims shape"),
        ({"a": entry([2**32, 2**32, 4], 0, 16)}, "claims shape"),  # whose product is 0 in 64 bits
        ({"a": entry([4], 0, 16), "b": entry([0, 2**70], 16, 16)}, "dimension"),
        ({"a": entry([2, -2], 0, 16)}, "stands for whole numbers"),
        ({"a": entry([-2, -2], 0, 16)}, "stands for whole numbers"),
        ({"a": entry([True, 4], 0, 16)}, "stands for whole numbers"),
        ({"a": entry([4.0], 0, 16)}, "stands for whole numbers"),
        ({"a": entry("4", 0, 16)}, "stands for whole numbers"),
        ({"a": entry([1] * 100 + [4], 0, 16)}, "dimension"),
        ({"a": entry([4], "0", 16)}, "stands for whole numbers"),
        ({"a": entry([4], math.nan, 16)}, "stands for whole numbers"),
        ({"a": entry([4], -16, 0)}, "stands for whole numbers"),
        ({"a": entry([4], 0, 16) | {"data_offsets": [0, 8, 16]}}, "too many values"),
        ({"a": entry([4], 0, 16), "b": entry([4], 0, 16)}, "lies from byte 0 to 16, the one before ended at 16"),
        ({"a": entry([3], 0, 12), "b": entry([2], 8, 16)}, "lies from byte 8 to 16, the one before ended at 12"),
        ({"a": entry([1], 0, 4), "b": entry([2], 8, 16)}, "lies from byte 8 to 16, the one before ended at 4"),
        ({"a": entry([3], 4, 16)}, "lies from byte 4"),
        ({"a": entry([3], 0, 12)}, "its arrays take 12 bytes, 16 are there"),
        ({"a": entry([4], 16, 0)}, "lies from byte 16 to 0"),
        ({"a": entry([4], 0, 16, "F7")}, "a is of dtype F7, none of F64"),
        ({"a": entry([4], 0, 16, ["F32"])}, "another form"),
        ({"a": [4]}, "another form"),
        ({"a": {"dtype": "F32", "shape": [4]}}, "another form"),
        ({}, "its arrays take 0 bytes, 16 are there"),
        ({"__metadata__": ["vit_jax"], "a": entry([4], 0, 16)}, "another form"),
        ({"__metadata__": {"vit_jax": {}}, "a": entry([4], 0, 16)}, "another form"),
        ({"__metadata__": {"vit_jax": "[]"}, "a": entry([4], 0, 16)}, "holds a list, wanted an object"),
        ({"__metadata__": {"vit_jax": '{"recipe": '}, "a": entry([4], 0, 16)}, "Expecting value"),
        ({"__metadata__": {"vit_jax": "[" * 10**5}, "a": entry([4], 0, 16)}, "nested too deep"),
        ([], "holds a list, wanted an object"),
        (b'{"a": 1, "a": 2}', "a key twice"),
        (b"[" * 10**5, "nested too deep"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "nested too deep"),
        (b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 16]}}', "4300 digits"),
        ('{"a": 1}'.encode("utf-16"), "codec"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"", "Expecting value"),
        (b" " * 2**24, "its header claims 16,777,216 bytes"),
    ],
    ids=range(39),
)
def test_a_header_that_lies_is_refused(path, header, message):
    path.write_bytes(hostile.safetensors(header, bytes(16)))
    with pytest.raises(UserError, match=rf"is no whole \.safetensors file \(.*{message}") as caught:
        safetensors.read(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("length", [5, 2**20, 2**40, 2**63, 2**64 - 1])
def test_a_header_shorter_or_longer_than_the_file_is_refused(path, length):
    path.write_bytes(hostile.safetensors(HEADER, DATA, length))
    with pytest.raises(UserError, match="is no whole"):
        safetensors.read(path)


def test_a_file_cut_anywhere_is_refused(path):
    whole = hostile.safetensors(HEADER, DATA)
    for length in {*range(0, len(whole), 5), *range(len(whole) - 20, len(whole))}:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="is no whole"):
            safetensors.read(path)


def test_a_missing_file_and_a_folder_are_told_apart(path):
    with pytest.raises(UserError, match=r"cannot read weights from .*model.safetensors: No such file"):
        safetensors.read(path)
    with pytest.raises(UserError, match="Is a directory"):
        safetensors.read(path.parent)


def test_damage_is_a_user_error_and_nothing_else(path):
    safetensors.write(path, {"a/kernel": np.ones((3, 5), np.float32), "b": np.arange(3)}, {"recipe": {"mean": [0.5]}})
    refused = 0
    for damaged in hostile.mutations(path.read_bytes(), 250, seed=0):
        path.write_bytes(damaged)
        try:
            arrays, _ = safetensors.read(path)
            assert all(np.isfinite(array.sum(dtype=float)) in (True, False) for array in arrays.values())
        except UserError as error:
            refused += 1
            assert len(str(error)) < 500
    assert refused > 180  # the rest are flipped bits inside arrays, which `files.digest` notices


@pytest.mark.parity
def test_the_library_reads_what_is_written_and_writes_what_is_read(path):
    library = pytest.importorskip("safetensors")
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    safetensors.write(path, EVERY, {"recipe": {"mean": [0.5]}})
    with library.safe_open(path, "pt") as file:
        assert file.metadata()["format"] == "pt"
        theirs = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert set(theirs) == set(EVERY)
    for name, tensor in theirs.items():
        assert tuple(tensor.shape) == EVERY[name].shape
        assert tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() == EVERY[name].tobytes(), name
    again = path.with_name("theirs.safetensors")
    save_file(theirs, again)
    assert_same(safetensors.read(again)[0], EVERY)
