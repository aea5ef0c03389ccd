import csv
import importlib.util
import json
import os
import re
import sys
import types
from pathlib import Path

import pytest
from hosts import Answer, Host, host

from vit_jax.errors import UserError
from vit_jax.weights import files, names
from vit_jax.weights.names import cache, download
from vit_jax.weights.names.cache import Patience

COMMIT = {"X-Repo-Commit": "0123abcd"}
REPOSITORY = "/timm/vit_tiny.augreg/resolve"


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("VIT_JAX_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache, "PATIENCE", Patience(attempts=2, wait=0.01, stall=1.0))
    with host() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("VIT_JAX_GOOGLE_ENDPOINT", f"{server.url}/")
        yield server


def put(server: Host, files: dict[str, bytes | Answer]):
    server.answers |= {path: [one if isinstance(one, Answer) else Answer(one)] for path, one in files.items()}


def repository(server: Host, *, branch: str = "main", pinned: str = "0123abcd", **files: bytes):
    """Puts a repository whose branch moves on once its config was read: the rest is at the commit alone."""
    put(server, {f"{REPOSITORY}/{branch}/config.json": Answer(b"{}", headers=COMMIT)})
    put(server, {f"{REPOSITORY}/{pinned}/{name}": body for name, body in files.items()})


@pytest.mark.parametrize(
    ("name", "path", "asked"),
    [
        ("google:imagenet21k/ViT-B_16", "vit_models/imagenet21k/ViT-B_16.npz", None),
        ("google:imagenet21k/ViT-B_16.npz", "vit_models/imagenet21k/ViT-B_16.npz", None),
        (
            "google:imagenet21k+imagenet2012/R50+ViT-B_16",
            "vit_models/imagenet21k+imagenet2012/R50+ViT-B_16.npz",
            "/vit_models/imagenet21k%2Bimagenet2012/R50%2BViT-B_16.npz",
        ),
        ("gs://big_vision/flexivit/flexivit_b_i1k.npz", "big_vision/flexivit/flexivit_b_i1k.npz", None),
    ],
)
def test_a_name_of_googles(server, name, path, asked):
    put(server, {asked or f"/{path}": b"weights"})
    found = names.local(name)
    assert found == str(cache.place(f"gs/{path}"))
    assert Path(found).read_bytes() == b"weights"
    assert names.local(name) == found and len(server.requests) == 1


INDEX = """\
name,ds,lr,aug,wd,do,sd,best_val,final_val,final_test,adapt_ds,adapt_lr,adapt_steps,adapt_resolution,adapt_final_val,\
adapt_final_test,params,infer_samples_per_sec,filename,adapt_filename
B/16,i21k,0.001,none,0.1,0.0,0.0,0.6,0.41,0.4,imagenet2012,0.03,20000,384,0.99,0.9,86,100,B_16-worse,B_16-worse--384
B/16,i21k,0.001,light1,0.1,0.0,0.0,0.5,0.45,0.4,imagenet2012,0.03,20000,384,0.83,0.8,86,100,B_16-best,B_16-best--384a
B/16,i21k,0.001,light1,0.1,0.0,0.0,0.5,0.45,0.4,imagenet2012,0.01,20000,384,0.85,0.8,86,100,B_16-best,B_16-best--384b
B/16,i21k,0.001,light1,0.1,0.0,0.0,0.5,0.45,0.4,imagenet2012,0.01,20000,224,0.86,0.8,86,100,B_16-best,B_16-best--224
B/16,i21k,0.001,light1,0.1,0.0,0.0,0.5,0.45,0.4,cifar100,0.01,10000,224,0.90,0.9,86,100,B_16-best,B_16-best--cifar
B/16,i21k_30,0.001,none,0.1,0.0,0.0,0.5,0.48,0.4,cifar100,0.01,10000,224,0.90,0.9,86,100,B_16-short,B_16-short--cifar
B/16,i1k,0.001,none,0.1,0.0,0.0,0.8,0.79,0.4,cifar100,0.01,10000,224,0.90,0.9,86,100,B_16-i1k,B_16-i1k--cifar
R+Ti/16,i21k,0.001,none,0.1,0.0,0.0,0.5,0.30,0.3,cifar100,0.01,10000,224,0.80,0.8,6,2000,R_Ti_16-only,R_Ti_16-only--cifar
"""


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("augreg:B/16", "B_16-best"),
        ("augreg:B/16@imagenet2012,384", "B_16-best--384b"),
        ("augreg:B/16@imagenet2012,224", "B_16-best--224"),
        ("augreg:B/16@cifar100,224", "B_16-best--cifar"),
        ("augreg:R+Ti/16", "R_Ti_16-only"),
    ],
)
def test_augregs_best_is_that_of_its_own_validation(server, name, file):
    put(server, {"/vit_models/augreg/index.csv": INDEX.encode(), f"/vit_models/augreg/{file}.npz": file.encode()})
    assert names.local(name) == str(cache.place(f"gs/vit_models/augreg/{file}.npz"))
    assert server.paths == ["/vit_models/augreg/index.csv", f"/vit_models/augreg/{file}.npz"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("augreg:B/17", r'unknown size of AugReg\'s "B/17". Did you mean "B/16"\?'),
        ("augreg:B/16@imagenet,384", r'unknown task of B/16 "imagenet,384". Did you mean "imagenet2012,384"\?'),
    ],
)
def test_augregs_misspelt_are_told_the_nearest(server, name, message):
    put(server, {"/vit_models/augreg/index.csv": INDEX.encode()})
    with pytest.raises(UserError, match=message):
        names.local(name)


@pytest.mark.parametrize("name", ["timm:vit_tiny.augreg", "hf:timm/vit_tiny.augreg", "hf:timm/vit_tiny.augreg@main"])
def test_a_repository_is_fetched_whole_at_one_commit(server, name, monkeypatch):
    wanted = {"preprocessor_config.json": b'{"size": 224}', "README.md": b"---", "model.safetensors": b"weights"}
    repository(server, **wanted)
    folder = Path(names.local(name))
    assert folder == cache.place("hf/timm/vit_tiny.augreg/main")
    pinned = f"{REPOSITORY}/0123abcd"
    assert server.paths == [f"{REPOSITORY}/main/config.json", *(f"{pinned}/{file}" for file in wanted)]
    visible = {path.name: path.read_bytes() for path in folder.glob("[!.]*")}
    assert visible == {"config.json": b"{}"} | wanted
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert names.local(name) == str(folder) and len(server.requests) == 4


def test_a_revision_has_its_own_folder(server):
    repository(server, branch="refs%2Fpr%2F1", **{"model.safetensors": b"weights"})
    assert names.local("timm:vit_tiny.augreg@refs/pr/1") == str(cache.place("hf/timm/vit_tiny.augreg/refs/pr/1"))


def index(*shards: str) -> bytes:
    return json.dumps({"weight_map": {f"array{at}": shard for at, shard in enumerate(shards)}}).encode()


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def test_shards_are_fetched_by_their_index(server):
    listed = {"model.safetensors.index.json": index(*SHARDS, SHARDS[0])}
    repository(server, **listed, **{SHARDS[0]: b"one"})
    with pytest.raises(UserError, match="404"):
        names.local("timm:vit_tiny.augreg")
    repository(server, **{SHARDS[1]: b"two"})
    server.requests.clear()
    folder = Path(names.local("timm:vit_tiny.augreg"))
    assert [(folder / shard).read_bytes() for shard in SHARDS] == [b"one", b"two"]
    assert f"{REPOSITORY}/0123abcd/{SHARDS[0]}" not in server.paths
    server.requests.clear()
    assert names.local("timm:vit_tiny.augreg") == str(folder) and server.requests == []


@pytest.mark.parametrize("shard", ["../up.safetensors", "/etc/passwd", "..", ".lock", "sub/model.safetensors"])
def test_an_index_that_points_out_of_its_folder_is_refused(server, shard):
    repository(server, **{"model.safetensors.index.json": index(shard)})
    with pytest.raises(UserError, match="which is no .safetensors in its own folder"):
        names.local("timm:vit_tiny.augreg")
    assert not any(path.endswith("passwd") or "up" in path for path in server.paths)


@pytest.mark.parametrize("torch", [True, False])
def test_a_pickle_is_fetched_where_it_can_be_read(server, torch, monkeypatch):
    repository(server, **{"pytorch_model.bin": b"pickle"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: torch or None)
    if torch:
        assert os.listdir(names.local("timm:vit_tiny.augreg")).count("pytorch_model.bin") == 1
    else:
        with pytest.raises(UserError, match="has no model.safetensors, and a pickle is read only where torch is"):
            names.local("timm:vit_tiny.augreg")


@pytest.mark.parametrize(("status", "reason"), [(401, "GatedRepo"), (403, "GatedRepo"), (403, "Forbidden")])
def test_a_gated_repository_says_what_to_do(server, status, reason):
    path = "/facebook/dinov3-vits16-pretrain-lvd1689m/resolve/main/config.json"
    put(server, {path: Answer(b"", status, {"X-Error-Code": reason})})
    wanted = rf"is gated: accept its terms at {server.url}/facebook/dinov3-vits16-\S+, and set HF_TOKEN to a token"
    with pytest.raises(UserError, match=wanted):
        names.local("hf:facebook/dinov3-vits16-pretrain-lvd1689m")


def test_the_token_opens_a_repository(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret\n")
    repository(server, **{"model.safetensors": b"weights"})
    names.local("timm:vit_tiny.augreg")
    assert set(server.asked("Authorization")) == {"Bearer secret"}


def test_google_is_shown_no_token(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    put(server, {"/vit_models/sam/ViT-B_16.npz": b"weights"})
    names.local("google:sam/ViT-B_16")
    assert server.asked("Authorization") == [None]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("google:imagenet21k/ViT-B_61", r'there is no google:\S+ \(.*\). Did you mean "google:imagenet21k/ViT-B_16"\?'),
        ("google:imagnet21k/ViT-B_16", 'no folder "imagnet21k". Did you mean "imagenet21k"'),
        ("google:ViT-B_16", 'no folder "ViT-B_16". Choose from: augreg, gsam, imagenet21k'),
        ("gs://nobodys/file.npz", "vit_jax.list_models.. has the names that are known"),
        (
            "hf:google/vit-base-patch16-242",
            r'answers 404 .* mean "hf:google/vit-base-patch16-224"\? If it is pri',
        ),
        ("hf:vit-base", "names no repository of Hugging Face; write it as in hf:google/vit-base-patch16-224"),
        ("hf:a/b/c", "names no repository"),
        ("hf:../b", "is no name of published weights"),
        ("hf:a/b@../../c", "is no name of published weights"),
        ("gs://bucket/../../up.npz", "is no name of published weights"),
        ("google:sam/../../up", "is no name of published weights"),
        ("tim:vit_tiny", 'unknown kind of weights "tim". Did you mean "timm"'),
        ("https://example.org/weights.npz", "got https://example.org/weights.npz: download it first"),
    ],
)
def test_a_name_of_nothing_is_told_the_nearest(server, name, message):
    with pytest.raises(UserError, match=message):
        names.local(name)


def test_offline_names_the_file_and_where_it_would_be(server, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError) as error:
        names.local("hf:google/vit-base-patch16-224")
    assert str(cache.place("hf/google/vit-base-patch16-224/main/config.json")) in str(error.value)
    assert "config.json of hf:google/vit-base-patch16-224 is not in the cache" in str(error.value)
    assert f"{server.url}/google/vit-base-patch16-224/resolve/main/config.json" in str(error.value)


@pytest.mark.parametrize("name", ["weights.npz", "runs/timm", "C:\\weights.npz", "~/x.npz"])
def test_a_path_is_itself(name):
    assert names.local(name) == name


def test_the_image_encoder_is_named_as_big_vision_names_it(server):
    put(server, {"/big_vision/siglip/b16.npz": b"weights"})
    assert names.local("gs://big_vision/siglip/b16.npz:img") == names.local("gs://big_vision/siglip/b16.npz")
    assert names.local("some/b16.npz:img") == "some/b16.npz"
    with pytest.raises(UserError, match='of some/b16.npz only the image encoder is read, "img"; got ":txt"'):
        names.local("some/b16.npz:txt")


def test_a_path_with_a_colon_is_itself_where_it_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("timm:mine").mkdir()
    assert names.local("timm:mine") == "timm:mine"
    assert names.local(tmp_path) == str(tmp_path)


def test_a_private_bucket_is_read_by_gcsfs(server, monkeypatch):
    put(server, {"/mine/file.npz": Answer(b"", 401)})
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # an import of it fails, installed or not
    with pytest.raises(UserError, match=r"gs://mine/file.npz is not public, .* install gcsfs, the extra \[gcs\]"):
        names.local("gs://mine/file.npz")

    class GCSFileSystem:
        def get_file(self, there, here):
            if there != "mine/file.npz":
                raise FileNotFoundError(there)
            Path(here).write_bytes(b"weights")

    monkeypatch.setitem(sys.modules, "gcsfs", types.SimpleNamespace(GCSFileSystem=GCSFileSystem))
    place = cache.place("gs/mine/file.npz")
    assert names.local("gs://mine/file.npz") == str(place) and place.read_bytes() == b"weights"
    assert not download.unfinished_of(place).exists()
    put(server, {"/mine/other.npz": Answer(b"", 403)})
    with pytest.raises(UserError, match="gcsfs cannot fetch it either: mine/other.npz"):
        names.local("gs://mine/other.npz")


def test_an_endpoint_is_an_address(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "hf-mirror.com")
    with pytest.raises(UserError, match="HF_ENDPOINT is hf-mirror.com; write it as in https://huggingface.co"):
        names.local("timm:vit_tiny")


def test_published_names_are_well_formed():
    known = names.published()
    assert known == sorted(set(known)) and len(known) > 100
    assert {name.partition(":")[0] for name in known} <= set(names.PREFIXES)
    google = [name.removeprefix("google:").partition("/") for name in known if name.startswith("google:")]
    assert {folder for folder, _, _ in google} <= set(names.GOOGLE_FOLDERS)
    assert not any(file.endswith(".npz") for _, _, file in google)
    assert all(re.fullmatch(r"hf:[\w.-]+/[\w.-]+", name) for name in known if name.startswith("hf:"))


def test_every_table_of_names_is_packaged():
    assert '"weights/published/*"' in (Path(__file__).parents[2] / "pyproject.toml").read_text()
    for table in names.PUBLISHED.glob("*.csv"):
        with table.open() as file:
            assert "name" in next(csv.reader(file))


def test_a_file_is_read_by_its_path_not_its_address():
    with pytest.raises(UserError, match=r"gs://mine/file.npz is an address, which weights.names.local fetches"):
        files.read("gs://mine/file.npz")
