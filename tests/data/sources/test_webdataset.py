"""Tars as WebDataset keeps them: what the standard library, GNU tar and webdataset itself write and read."""

import gc
import gzip
import io
import json
import os
import pickle
import shutil
import subprocess
import tarfile
import warnings
from concurrent.futures import ThreadPoolExecutor

import buckets
import numpy as np
import pytest

from vit_jax.data import sources
from vit_jax.data.examples import labels_of
from vit_jax.data.sources import tar
from vit_jax.data.sources.webdataset import expanded
from vit_jax.errors import UserError


def pack(path, files, format=tarfile.PAX_FORMAT):  # noqa: A002
    """Writes a tar of files given as (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def example(name, label, ending="cls"):
    return [(f"{name}.jpg", b"image " + name.encode()), (f"{name}.{ending}", str(label).encode())]


def build(path, split="all", **options):
    return sources.build("webdataset", split, path=str(path), **options)


def held(source):
    """Image, names of its classes, of every example."""
    found = []
    for one in (source[index] for index in range(len(source))):
        labels = one.labels
        found.append((one.image.decode(), *(source.class_names[label] for label in labels)))
    return found


NAMES = [
    "a.txt",
    "folder/b",
    "ü/" + "long" * 60 + "/c.jpg",
    "d" * 99,
    "e" * 100,
    "f" * 101,
    "../g.jpg",
    "x" * 90 + "/h.jpg",
]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_where_tarfile_finds_them(tmp_path, format):  # noqa: A002
    names = [name for name in NAMES if format != tarfile.USTAR_FORMAT or len(name) < 100 or name.startswith("x")]
    draw = np.random.default_rng(0)
    path = pack(tmp_path / "a.tar", [(name, draw.bytes(int(draw.integers(2000)))) for name in names], format)
    with tarfile.open(path) as archive, open(path, "rb") as file:
        theirs = [(member.name, member.offset_data, member.size) for member in archive.getmembers()]
        assert list(tar.members(file, path.stat().st_size, str(path))) == theirs


def test_members_are_where_gnu_tar_puts_them(tmp_path):
    for number, name in enumerate(NAMES[:4]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"%d" % number * 700)
    for format in ("gnu", "oldgnu", "ustar", "pax", "v7"):  # noqa: A001
        names = ["a.txt", "folder"] if format in ("ustar", "v7") else ["."]
        path = tmp_path.parent / f"{tmp_path.name}.{format}.tar"
        subprocess.run(["tar", f"--format={format}", "-cf", path, "-C", tmp_path, *names], check=True)
        data = path.read_bytes()
        found = list(tar.members(io.BytesIO(data), len(data), str(path)))
        assert len(found) >= 2
        for name, offset, size in found:
            assert data[offset : offset + size] == (tmp_path / name).read_bytes()


def test_examples_in_their_order(tmp_path):
    first, second = [*example("b", "dog", "txt"), *example("d/e.f/a", "cat", "txt")], example("c", "dog", "txt")
    extra = [
        ("__meta__", b"{}"),
        ("no_ending", b""),
        (".hidden", b""),
        ("d/b.jpg", b"image again"),
        ("d/b.TXT", b"dog"),
    ]
    pack(tmp_path / "set-0.tar", first)
    pack(tmp_path / "set-1.tar", extra + second)
    source = build(tmp_path)
    assert held(source) == [("image b", "dog"), ("image d/e.f/a", "cat"), ("image again", "dog"), ("image c", "dog")]
    assert labels_of(source).tolist() == [1, 0, 1, 1]
    assert source[1].name == f"{tmp_path}/set-0.tar: d/e.f/a"
    with pytest.raises(IndexError):
        source[4]
    again = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(again.__getitem__, [0, 1, 2, 3] * 20)) == [source[index] for index in range(4)] * 20


def test_splits_by_the_names_of_tars_or_folders(tmp_path):
    for name in ("in1k-train-0.tar", "in1k-train-1.tar", "in1k-validation-0.tar", "test/0.tar", "more/0.tar"):
        pack(tmp_path / name, example(name.replace(".", ""), len(name), "cls"))
    assert [image for image, _ in held(build(tmp_path, "train"))] == ["image in1k-train-0tar", "image in1k-train-1tar"]
    assert [image for image, _ in held(build(tmp_path, "val"))] == ["image in1k-validation-0tar"]
    assert [image for image, _ in held(build(tmp_path, "test"))] == ["image test/0tar"]
    assert len(build(tmp_path)) == 5
    assert build(tmp_path, "test").class_names == build(tmp_path).class_names
    assert len(build(tmp_path / "in1k-train-{0..1}.tar")) == len(build(tmp_path / "in1k-t*.tar", "train")) == 2
    assert len(build(tmp_path / "in1k-{validation-0,train-1}.tar[:50%]".removesuffix("[:50%]"), "all[:50%]")) == 1
    with pytest.raises(UserError, match='no tar of the split "val", only train, all'):
        build(tmp_path / "in1k-train-0.tar", "val")
    with pytest.raises(UserError, match="in1k-train-2.tar"):
        build(tmp_path / "in1k-train-{0..2}.tar")
    with pytest.raises(UserError, match="there is no tar"):
        build(tmp_path / "x*.tar")


@pytest.mark.parametrize(
    "pattern", ["a-{000..012}.tar", "{x,y}/{8..11}.{tar,tgz}", "a-{3..1}", "plain", "{08..10}{a,}"]
)
def test_braces_are_written_out_as_by_a_shell(pattern):
    shell = subprocess.check_output(["bash", "-c", f"echo {pattern}"], text=True)
    assert expanded(pattern) == shell.split()


def test_labels_of_every_kind(tmp_path):
    def one(name, said):
        return [
            (f"{name}.png", b"p"),
            (f"{name}.cls", b"7"),
            (f"{name}.json", json.dumps(said).encode()),
            (f"{name}.txt", b"x\ny\n"),
        ]

    pack(tmp_path / "0.tar", one("a", {"label": 1, "tags": ["cat", "dog"]}) + one("b", {"label": 0, "tags": []}))
    assert build(tmp_path).class_names == tuple(map(str, range(8)))
    assert held(build(tmp_path, label="json", class_names=["ant", "bee"])) == [("p", "bee"), ("p", "ant")]
    several = build(tmp_path, label="json", key="tags")
    assert (held(several), several.most_labels) == ([("p", "cat", "dog"), ("p",)], 2)
    assert held(build(tmp_path, label="txt")) == [("p", "x", "y"), ("p", "x", "y")]
    assert build(tmp_path, image="txt", label="cls")[0].image == b"x\ny\n"
    (tmp_path / "classes.txt").write_text("\n".join("abcdefgh"))
    assert held(build(tmp_path)) == [("p", "h"), ("p", "h")]
    (tmp_path / "classes.txt").write_text("a\nb")
    with pytest.raises(UserError, match=r'"a" in ".*0.tar": label 7 is out of range; the 2 classes of ".*classes.txt"'):
        build(tmp_path)


def test_a_label_that_is_no_class_names_its_example(tmp_path):
    rows = [("a", "cat"), ("b", ""), ("c", "dog\ncat\ncat"), ("d", "bee"), ("e", "bee")]
    pack(tmp_path / "0.tar", [file for name, label in rows for file in example(name, label, "txt")])
    pack(tmp_path / "1.tar", example("f", "dog", "txt"))
    assert [labels for _, *labels in held(build(tmp_path))] == [["cat"], [], ["dog", "cat"], ["bee"], ["bee"], ["dog"]]
    with pytest.raises(UserError, match='"d" in ".*0.tar": "bee" is no class of class_names'):
        build(tmp_path, class_names=["cat", "dog"])


def test_the_index_is_kept_until_the_tar_changes(tmp_path, monkeypatch):
    path = pack(tmp_path / "0.tar", example("a", 1))
    assert len(build(tmp_path)) == 1
    assert sorted(os.listdir(tmp_path)) == ["0.tar", "0.tar.index.npz"]
    walked = []
    monkeypatch.setattr(tar, "members", lambda *given, members=tar.members: walked.append(1) or members(*given))
    assert held(build(tmp_path)) == [("image a", "1")] and not walked
    build(tmp_path, image="jpg")
    assert len(walked) == 1, "other options, another index"
    was = path.stat()
    pack(path, example("a", 1) + example("b", 0))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns + 1))
    assert len(build(tmp_path)) == 2 and len(walked) == 2
    (tmp_path / "0.tar.index.npz").write_bytes(b"PK nonsense")
    assert len(build(tmp_path)) == 2 and len(walked) == 3


def test_the_index_goes_to_the_cache_where_one_cannot_write(tmp_path, monkeypatch):
    path = pack(tmp_path / "0.tar", example("a", 1))
    (tmp_path / "0.tar.index.npz").mkdir()  # as root may write everywhere
    monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
    assert held(build(path)) == held(build(path)) == [("image a", "1")]
    assert [len(files) for _, _, files in os.walk(tmp_path / "cache")] == [0, 1]


def test_tars_in_a_bucket(tmp_path, monkeypatch):
    pack(tmp_path / "train-0.tar", example("a", 1) + example("b", 0))
    pack(tmp_path / "train-1.tar", example("c", 2))
    store = buckets.Buckets()
    store.put("images", tmp_path)
    monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
    with buckets.serving(store) as url:
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        for path in ("gs://images", "gs://images/train-{0..1}.tar", "gs://images/train-*.tar"):
            assert held(build(path, "train")) == held(build(tmp_path, "train"))


PLAIN = example("a", 1)


def link(path, kind):
    pack(path, PLAIN)
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("b.jpg")
        member.type, member.linkname = kind, "a.jpg"
        archive.addfile(member)


def sparse(path):
    with open(path.parent / "b.jpg", "wb") as file:
        file.truncate(10_000_000)
    subprocess.run(["tar", "-Scf", path, "-C", path.parent, "b.jpg"], check=True)


def sparse_by_pax(path):
    with open(path.parent / "b.jpg", "wb") as file:
        file.truncate(10_000_000)
    subprocess.run(["tar", "--format=pax", "-Scf", path, "-C", path.parent, "b.jpg"], check=True)


def changed(path, change):
    path.write_bytes(change(pack(path, PLAIN).read_bytes()))


def pax_of(content):
    """What puts a pax header with this content before a tar."""
    member = tarfile.TarInfo("pax")
    member.type, member.size = tarfile.XHDTYPE, len(content)
    return lambda data: member.tobuf(tarfile.USTAR_FORMAT) + content.ljust(512, b"\0") + data


def led_back(data):
    """A tar whose first file says that it has so few bytes that the next one is itself."""
    header = bytearray(data[:512])
    header[124:136], header[148:156] = b"       -512\0", b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


MISTAKES = {
    "packed": (lambda path: changed(path, gzip.compress), "is packed by gzip.*unpack it"),
    "cut short": (lambda path: changed(path, lambda data: data[:1000]), "is cut short: its 1,000 bytes"),
    "cut in a file": (lambda path: changed(path, lambda data: data[:515]), "is cut short"),
    "cut after a file": (lambda path: changed(path, lambda data: data[:2048]), "is cut short"),
    "empty": (lambda path: path.write_bytes(b""), "is cut short"),
    "no tar": (lambda path: path.write_bytes(b"word " * 1000), "is no tar"),
    "damaged": (lambda path: changed(path, lambda data: data[:1030] + b"?" + data[1031:]), "is damaged: byte 1,024"),
    "led back": (lambda path: changed(path, led_back), "is no tar"),
    "joined by cat": (lambda path: changed(path, lambda data: data + data), "goes on behind its end"),
    "hard link": (lambda path: link(path, tarfile.LNKTYPE), '"b.jpg" in .* is a hard link; write it with tar --deref'),
    "symbolic link": (lambda path: link(path, tarfile.SYMTYPE), "is a symbolic link"),
    "sparse": (sparse, "is a sparse file"),
    "sparse by pax": (sparse_by_pax, "is a sparse file"),
    "pax without end": (lambda path: changed(path, pax_of(b"-6 a=b\n")), "begins no pax header"),
    "pax of no number": (lambda path: changed(path, pax_of(b"9 size=x\n")), "begins no pax header"),
    "no image": (lambda path: pack(path, PLAIN[1:]), r'"a" in ".*" has no image \(cls\); take it out, or say which'),
    "two images": (lambda path: pack(path, [("a.png", b""), *PLAIN]), r"has several images \(cls, jpg, png\)"),
    "no label": (lambda path: pack(path, PLAIN[:1]), r"has no label \(jpg\)"),
    "another label": (lambda path: pack(path, [*PLAIN, *example("b", "x", "txt")]), r"has no cls \(jpg, txt\)"),
    "no key": (
        lambda path: pack(path, example("a", '{"class": 1}', "json")),
        'no "label", only class; say which by key',
    ),
    "no json": (lambda path: pack(path, example("a", "{", "json")), "its json cannot be read"),
    "odd json": (lambda path: pack(path, example("a", '{"label": 0.5}', "json")), '"label" is 0.5; give a class name'),
    "twice": (lambda path: pack(path, [*PLAIN, PLAIN[0]]), 'has "a.jpg" twice'),
    "no example": (lambda path: pack(path, []), "no image has a label"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_line(tmp_path, mistake):
    make, message = MISTAKES[mistake]
    make(tmp_path / "0.tar")
    with pytest.raises(UserError, match=message) as raised:
        build(tmp_path / "0.tar")
    assert "\n" not in str(raised.value) and ("0.tar" in str(raised.value) or mistake == "no example")
    assert not [name for name in os.listdir(tmp_path) if "index" in name] or mistake == "no example"


def test_packed_tars_in_a_folder_are_seen(tmp_path):
    path = pack(tmp_path / "0.tar", PLAIN)
    with open(path, "rb") as plain, gzip.open(tmp_path / "1.tar.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    with pytest.raises(UserError, match="1.tar.gz.* is packed by gzip"):
        build(tmp_path)


@pytest.mark.parity
def test_the_same_examples_as_webdataset_itself(tmp_path):
    import webdataset

    draw = np.random.default_rng(0)
    for shard in range(3):
        with webdataset.TarWriter(str(tmp_path / f"train-{shard:06}.tar")) as writer:
            for number in range(20):
                key = f"{shard}/n.{number % 3}/{number:04}"
                writer.write(
                    {"__key__": key, "jpg": draw.bytes(900), "cls": int(draw.integers(5)), "json": {"x": number}}
                )
    pattern = str(tmp_path / "train-{000000..000002}.tar")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files open
        theirs = list(webdataset.WebDataset(pattern, shardshuffle=False))
        gc.collect()
    ours = build(pattern, "train")
    assert [(one.image, one.label, one.name.split(": ")[1]) for one in (ours[index] for index in range(len(ours)))] == [
        (sample["jpg"], int(sample["cls"]), sample["__key__"]) for sample in theirs
    ]
