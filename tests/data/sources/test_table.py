"""Tables of paths and labels: every spelling that people's tools write, and every mistake by its line."""

import json
import pickle

import buckets
import numpy as np
import pytest

from vit_jax.data import pipeline, sources
from vit_jax.data.examples import Selection, labels_of
from vit_jax.data.sources.digits import digits
from vit_jax.errors import UserError


def write(folder, **files):
    """Writes text, or bytes, at each path, its dots and slashes written __ and _s_."""
    for name, content in files.items():
        path = folder / name.replace("_s_", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def held(path, split="all", **options):
    """What a split of a table holds: the path of each image as the table has it, and the names of its labels."""
    source = sources.build("table", split, path=str(path), **options)
    whole, indices = (source.source, source.indices) if isinstance(source, Selection) else (source, range(len(source)))
    if source.most_labels is None:
        labels = [(int(label),) for label in labels_of(source)]
    else:
        labels = [whole.labels_by_image[int(index)] for index in indices]
    names = [whole.paths[int(index)] for index in indices]
    return {name: [source.class_names[label] for label in each] for name, each in zip(names, labels, strict=True)}


PLAIN = {"a.jpg": ["cat"], "b/c.png": ["dog"], "d.jpg": ["cat"]}


@pytest.mark.parametrize(
    "text",
    [
        "image,label\na.jpg,cat\nb/c.png,dog\nd.jpg,cat\n",
        "image,label\r\na.jpg,cat\r\nb/c.png,dog\r\nd.jpg,cat",
        "\ufeffimage,label\na.jpg,cat\nb/c.png,dog\nd.jpg,cat\n",
        "\n\nimage,label\n\na.jpg,cat\n   \nb/c.png,dog\n,\nd.jpg,cat\n\n",
        'number,"label", image\n1,"cat",a.jpg\n2,dog,"b/c.png"\n3, cat, d.jpg\n',
        "file_name,height,class\na.jpg,3,cat\nb/c.png,3,dog\nd.jpg,3,cat\n",
    ],
)
def test_spellings_of_the_same_table(tmp_path, text):
    write(tmp_path, mine__csv=text, mine__tsv=text.replace(",", "\t"))
    assert held(tmp_path / "mine.csv") == PLAIN
    assert held(tmp_path / "mine.tsv") == PLAIN


def test_jsonl(tmp_path):
    rows = [{"path": path, "label": label} for path, (label,) in PLAIN.items()]
    write(tmp_path, mine__jsonl="\r\n\r\n".join(map(json.dumps, rows)))
    assert held(tmp_path / "mine.jsonl") == PLAIN
    write(tmp_path, mine__jsonl='{"photo": "ü \\" ,.jpg", "kind": 3, "label": "x"}')
    assert held(tmp_path / "mine.jsonl", image="photo", label="kind") == {'ü " ,.jpg': ["3"]}


def test_paths_of_every_kind(tmp_path):
    write(tmp_path, pictures_s_ü__jpg=b"relative", elsewhere_s_b__jpg=b"absolute")
    table = f'image,label\nü.jpg,0\n"{tmp_path}/elsewhere/b.jpg",1\ngs://bucket/c.jpg,1\n"with, ""quotes"".jpg",0\n'
    write(tmp_path, pictures_s_mine__csv=table, mine__csv=table)
    for place, options in (("pictures/mine.csv", {}), ("mine.csv", {"root": str(tmp_path / "pictures")})):
        source = sources.build("table", "all", path=str(tmp_path / place), **options)
        assert (source[0].image, source[0].label, source[0].name) == (b"relative", 0, f"{tmp_path}/pictures/ü.jpg")
        assert (source[1].image, source[1].label) == (b"absolute", 1)
        with pytest.raises(UserError, match='with, "quotes".jpg'):
            source[3]
    assert list(held(tmp_path / "mine.csv"))[2] == "gs://bucket/c.jpg"


def test_a_table_in_a_bucket(tmp_path, monkeypatch):
    store = buckets.Buckets({"mine/set/train.csv": b"image,label\na.jpg,cat\ngs://other/b.jpg,dog\n"})
    store.objects |= {"mine/set/a.jpg": b"a", "other/b.jpg": b"b", "mine/set/val/metadata.csv": b"path,class\nc,cat"}
    with buckets.serving(store) as url:
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        source = sources.build("table", "train", path="gs://mine/set")
        assert [source[index].image for index in range(2)] == [b"a", b"b"]
        assert held("gs://mine/set", "val") == {"val/c": ["cat"]}
        assert held("gs://mine/set/train.csv") == {"a.jpg": ["cat"], "gs://other/b.jpg": ["dog"]}
        with pytest.raises(UserError, match='"gs://mine/set/val/c"'):
            sources.build("table", "val", path="gs://mine/set")[0]


def test_splits_in_a_column(tmp_path):
    write(tmp_path, mine__csv="image,label,split\na,cat,train\nb,dog,validation\nc,cat,Train\nd,ant,extra\n")
    assert held(tmp_path / "mine.csv", "train") == {"a": ["cat"], "c": ["cat"]}
    assert held(tmp_path / "mine.csv", "val") == {"b": ["dog"]}
    assert len(held(tmp_path / "mine.csv")) == 4
    assert sources.build("table", "val", path=str(tmp_path / "mine.csv")).class_names == ("ant", "cat", "dog")
    with pytest.raises(UserError, match='no split "test", only train, val, extra, all'):
        held(tmp_path / "mine.csv", "test")
    write(tmp_path, mine__csv="image,label\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
    first, rest = (
        sources.build("table", f"all{part}", path=str(tmp_path / "mine.csv")) for part in ("[:75%]", "[75%:]")
    )
    assert (len(first), len(rest)) == (15, 5)
    with pytest.raises(UserError, match=r'no split "train", only all; cut one as all\[:90%\]'):
        held(tmp_path / "mine.csv", "train")


def test_splits_as_files(tmp_path):
    write(tmp_path, train__csv="image,label\na,dog\n", valid__tsv="image\tlabel\nb\tcat\n")
    write(tmp_path, test_s_metadata__jsonl='{"file_name": "c", "label": "eel"}')
    assert held(tmp_path, "train") == {"a": ["dog"]}
    assert held(tmp_path, "val") == {"b": ["cat"]}
    assert held(tmp_path, "test") == {"test/c": ["eel"]}, "its path begins where its table lies"
    assert held(tmp_path, "test", root="/data") == {"c": ["eel"]}
    assert sources.build("table", "train", path=str(tmp_path)).class_names == ("cat", "dog", "eel")
    write(tmp_path, validation__csv="image,label\n")
    with pytest.raises(UserError, match="valid.tsv, validation.csv, .*keep one for each split"):
        held(tmp_path, "train")


def test_numbers_and_names_of_classes(tmp_path):
    write(tmp_path, train__csv="image,label\na,0\nb,2\n", val__csv="image,label\nc,3\n")
    assert sources.build("table", "train", path=str(tmp_path)).class_names == ("0", "1", "2", "3")
    assert held(tmp_path, "val", class_names=["ant", "bee", "cat", "dog", "eel"]) == {"c": ["dog"]}
    with pytest.raises(UserError, match=r'"val.csv", line 2: label 3 is out of range; the 3 classes of class_names'):
        held(tmp_path, "train", class_names=["ant", "bee", "cat"])
    with pytest.raises(UserError, match="class_names has a class twice"):
        held(tmp_path, "train", class_names=["ant", "bee", "cat", "ant"])
    write(tmp_path, classes__txt="ant\nbee\r\ncat\ndog\n\n")
    assert held(tmp_path, "train") == {"a": ["ant"], "b": ["cat"]}
    write(tmp_path, train__csv="image,label\na,dog\nb,ant\n", val__csv="image,label\nc,bee\n")
    assert held(tmp_path, "train") == {"a": ["dog"], "b": ["ant"]}
    assert sources.build("table", "train", path=str(tmp_path)).class_names == ("ant", "bee", "cat", "dog")
    write(tmp_path, val__csv="image,label\nc,\nd,bea\n")
    with pytest.raises(UserError, match=r'"val.csv", line 3: "bea" is no class of ".*classes.txt". Did you mean "bee"'):
        held(tmp_path, "train")
    write(tmp_path, train__csv="image,label\na,007\n", val__csv="image,label\nb,1\n", classes__txt="007\n1\n")
    assert held(tmp_path, "train") == {"a": ["007"]}


def test_several_labels_or_none(tmp_path):
    write(tmp_path, train__csv="image,label\na,cat\n", val__csv='image,label\nb,dog| cat |dog|\nc,\nd,"dog"\n')
    assert held(tmp_path, "val") == {"b": ["dog", "cat"], "c": [], "d": ["dog"]}
    train = sources.build("table", "train", path=str(tmp_path))
    assert (train.most_labels, train.class_names) == (2, ("cat", "dog")), "as some of val have two"
    assert held(tmp_path, "train") == {"a": ["cat"]}
    assert held(tmp_path, "val", separator="")["b"] == ["dog| cat |dog|"]
    with pytest.raises(UserError, match="several labels"):
        labels_of(train)
    write(tmp_path, mine__jsonl='{"image": "a", "labels": [4, "1"]}\n{"image": "b", "labels": null}\n')
    assert held(tmp_path / "mine.jsonl") == {"a": ["4", "1"], "b": []}


def test_batches_of_several_labels(tmp_path):
    import PIL.Image

    for number in range(3):
        PIL.Image.fromarray(digits("val")[number].image).save(tmp_path / f"{number}.png")
    write(tmp_path, mine__csv="image,label\n0.png,cat|dog\n1.png,\n2.png,dog\n")
    source = pickle.loads(pickle.dumps(sources.build("table", "all", path=str(tmp_path / "mine.csv"))))
    (batch,) = pipeline.evaluation(source, lambda picture, rng: np.asarray(picture), 3, threads=0)
    assert batch["label"].tolist() == [[0, 1], [-1, -1], [1, -1]]
    assert np.array_equal(batch["image"][2, :, :, 0], digits("val")[2].image)


CSV = "image,label\na,cat\n"
MISTAKES = {
    "extra cell": (CSV + "b,x,dog\n", "line 3: 3 cells, and the columns are 2: image, label"),
    "missing cell": (CSV + "\nb\n", "line 4: 1 cells"),
    "no path": (CSV + ",dog\n", "line 3: '' is no path"),
    "nul": (CSV + "b\0,dog\n", "line 3: .* is no path"),
    "open quote": (CSV + '"b,dog\n', "line 3: unexpected end of data"),
    "stray quote": (CSV + '"b"c,dog\n', "line 3: .*expected after"),
    "no header": ("a.jpg,cat\n", "line 1: none of the columns a.jpg, cat is image or path"),
    "no label column": ("image,kind\na,cat\n", "line 1: none of the columns image, kind is label or class"),
    "semicolons": ("image;label\na;cat\n", "line 1: none of the columns image;label is image"),
    "empty": ("", "line 1: none of the columns .there are none. is image"),
    "header alone": ("image,label\n", "names no image"),
    "no label at all": ("image,label\na,\n", "no image has a label"),
    "latin-1": (CSV.encode() + "b,Bär\n".encode("latin-1"), "line 3: is not UTF-8"),
    "utf-16": (CSV.encode("utf-16"), "line 1: is not UTF-8"),
    "negative": ("image,label\na,0\nb,-1\n", "line 3: label -1 is out of range"),
    "longer than int reads": (f"image,label\na,0\nb,{'9' * 5000}\n", "line 3: label 9+ is out of range"),
    "huge": ("image,label\na,0\nb,20260101\n", "line 3: label 20260101 is out of range"),
}
JSONL_MISTAKES = {
    "no json": ("{'image': 1}", "line 2: no JSON"),
    "list": ('["b", "dog"]', "line 2: .* is no object"),
    "no path": ('{"label": "dog"}', 'line 2: "image" is None; give the path'),
    "number as path": ('{"image": 3, "label": "dog"}', 'line 2: "image" is 3'),
    "surrogate": ('{"image": "\\ud800", "label": "dog"}', "line 2: .* is no path; write UTF-8"),
    "no label": ('{"image": "b", "lable": "dog"}', 'line 2: there is no "label"; write null'),
    "true": ('{"image": "b", "label": true}', 'line 2: "label" is True'),
    "a share": ('{"image": "b", "label": [0.5]}', r'line 2: "label" is \[0.5\]'),
    "objects": ('{"image": "b", "label": {"cat": 1}}', "line 2: .*give a class name, a whole number, or a list"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_line_that_names_its_line(tmp_path, mistake):
    content, message = MISTAKES[mistake]
    write(tmp_path, mine__csv=content)
    with pytest.raises(UserError, match=message) as raised:
        held(tmp_path / "mine.csv")
    assert "\n" not in str(raised.value) and ("line" not in message or "mine.csv" in str(raised.value))


@pytest.mark.parametrize("mistake", JSONL_MISTAKES)
def test_a_mistake_in_jsonl_is_a_line_that_names_its_line(tmp_path, mistake):
    content, message = JSONL_MISTAKES[mistake]
    write(tmp_path, mine__jsonl='{"image": "a", "label": "cat"}\n' + content)
    with pytest.raises(UserError, match=message) as raised:
        held(tmp_path / "mine.jsonl")
    assert "\n" not in str(raised.value) and "mine.jsonl" in str(raised.value)


def test_what_is_no_table(tmp_path):
    write(tmp_path, images__json="[]", classes__txt="cat\ncat\n")
    with pytest.raises(UserError, match=r"is no table; give a file that ends in \.csv, \.tsv, \.jsonl"):
        held(tmp_path / "images.json")
    with pytest.raises(UserError, match="has no table; make train.csv"):
        held(tmp_path)
    write(tmp_path, metadata__csv=CSV)
    with pytest.raises(UserError, match="an empty line or a class twice"):
        held(tmp_path)
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(UserError, match='mine.csv" does not exist'):
        held(tmp_path / "mine.csv")
    assert held(tmp_path) == {"a": ["cat"]}
    with pytest.raises(UserError, match='line 1: no column "imge".* Did you mean "image"'):
        held(tmp_path, image="imge")
