import argparse
import os
import pickle
import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest

from vit_jax.errors import UserError
from vit_jax.weights.files import torch_pickle


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pth"


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


class Trap:
    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_without_torch_nothing_is_unpickled(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it fails, installed or not
    path.write_bytes(pickle.dumps(Trap(path.with_name("ran"))))
    with pytest.raises(UserError, match=r"only torch reads safely, and torch is not installed here; .*safetensors"):
        torch_pickle.read(path)
    assert not path.with_name("ran").exists()


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cu121", "2.9.0"])
def test_a_torch_that_could_be_made_to_run_code_is_not_asked(path, monkeypatch, version):
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(__version__=version))  # pyright: ignore
    with pytest.raises(UserError, match=rf"since 2\.10; {version[:5]}"):
        torch_pickle.read(path)


@pytest.mark.parity
@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before-1.6"])
class TestWithTorch:
    @pytest.fixture
    def save(self, torch, path, archive):
        def save(found):
            torch.save(found, path, _use_new_zipfile_serialization=archive)
            return path

        return save

    def test_tensors_of_every_kind_come_as_they_are(self, torch, save):
        wide = torch.arange(24.0).reshape(4, 6)
        bits = torch.arange(-(2**15), 2**15, dtype=torch.int16).reshape(256, 256)
        tied = torch.ones(3)
        tensors = {
            "parameter": torch.nn.Parameter(wide),
            "transposed": wide.T,
            "strided": wide[::2, ::3],
            "half": torch.tensor([0.5]).half(),
            "bfloat": bits.view(torch.bfloat16),
            "bfloat_transposed": bits.view(torch.bfloat16).T,
            "scalar": torch.tensor(7),
            "none": torch.zeros(0, 4),
            "tied": tied,
            "tied_too": tied,
        }
        arrays, notes = torch_pickle.read(save(tensors | {"epoch": 3, "optimizer": {"state": {}}}))
        assert notes == {} and set(arrays) == set(tensors)
        assert arrays["bfloat"].dtype == arrays["bfloat_transposed"].dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(arrays["bfloat"].view(np.int16), bits.numpy())
        np.testing.assert_array_equal(arrays["bfloat_transposed"].view(np.int16), bits.numpy().T)
        for name in set(tensors) - {"bfloat", "bfloat_transposed"}:
            wanted = tensors[name].detach().numpy()
            assert arrays[name].dtype == wanted.dtype, name
            np.testing.assert_array_equal(arrays[name], wanted, err_msg=name)

    def test_of_a_training_checkpoint_the_models_tensors_are_taken(self, torch, save):
        def weights(value):
            return {"w": torch.full((2,), value), "counter": 3}

        for wanted, found in (
            (1.0, {"model": weights(1.0), "optimizer": weights(0.0), "args": argparse.Namespace(lr=0.1, path=["a"])}),
            (2.0, {"student": weights(0.0), "teacher": weights(2.0), "epoch": 1}),
            (3.0, {"state_dict": weights(0.0), "state_dict_ema": weights(3.0), "arch": "vit"}),
            (4.0, {"model": weights(0.0), "model_ema": weights(4.0)}),
            (5.0, {"model": "vit_base", "state_dict": weights(5.0)}),
            (6.0, {"model": {"depth": 12}, **weights(6.0)}),
        ):
            arrays, _ = torch_pickle.read(save(found))
            np.testing.assert_array_equal(arrays["w"], [wanted, wanted])
            assert set(arrays) == {"w"}

    def test_what_is_pickled_beside_tensors_does_not_run(self, torch, save, path):
        for found in (Trap(path.with_name("ran")), {"w": torch.ones(2), "x": Trap(path.with_name("ran"))}):
            with pytest.raises(UserError, match="holds more than tensors, which could run code, and is not read"):
                torch_pickle.read(save(found))
        assert not path.with_name("ran").exists()

    def test_a_tensor_larger_than_its_file_takes_no_memory(self, torch, save):
        with pytest.raises(UserError, match=r"claims tensors of 4,000,000,000,000; it is not read"):
            torch_pickle.read(save({"w": torch.zeros(1).expand(10**12)}))
        with pytest.raises(UserError, match="claims tensors of 4,000,000,000,000"):
            torch_pickle.read(save({"w": torch.empty(10**6, 10**6, device="meta")}))

    def test_a_tensor_that_is_no_array_is_named(self, torch, save):
        with pytest.raises(UserError, match=r"model\.pth: odd is no plain array of numbers: "):
            torch_pickle.read(save({"odd": torch.eye(3).to_sparse()}))

    @pytest.mark.parametrize("found", [[], {}, {"model": {}}, {"a": 1}, 3, "text"])
    def test_a_file_without_tensors_is_refused(self, save, found):
        with pytest.raises(UserError, match="holds no names with tensors"):
            torch_pickle.read(save(found))

    def test_a_file_cut_anywhere_is_refused(self, torch, save, path):
        whole = save({"w": torch.ones(100)}).read_bytes()
        for length in range(0, len(whole) - 1, 37):
            path.write_bytes(whole[:length])
            with pytest.raises(UserError, match="is no whole file of torch's|holds more than tensors"):
                torch_pickle.read(path)


@pytest.mark.parity
def test_plain_pickles_are_refused_and_do_not_run(torch, path):
    del torch
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"w": Trap(path.with_name("ran"))}, protocol))
        with pytest.raises(UserError):
            torch_pickle.read(path)
    assert not path.with_name("ran").exists()


@pytest.mark.parity
def test_an_archive_that_was_packed_is_refused_since_torch_would_map_the_packed_bytes(torch, path):
    torch.save({"w": torch.ones(100)}, path)
    packed = path.with_name("packed.pth")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    with pytest.raises(UserError, match="is packed, as torch does not write"):
        torch_pickle.read(packed)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated, and published so: CLIP's
def test_a_program_is_named_as_one(torch, path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    with pytest.raises(UserError, match="is a TorchScript program, not weights"):
        torch_pickle.read(path)


@pytest.mark.parity
def test_a_missing_file_and_one_of_noise_are_told_apart(torch, path):
    del torch
    with pytest.raises(UserError, match=r"cannot read weights from .*model.pth: No such file"):
        torch_pickle.read(path)
    path.write_bytes(np.random.default_rng(0).bytes(1000))
    with pytest.raises(UserError, match="is no whole file of torch's|holds more than tensors"):
        torch_pickle.read(path)
