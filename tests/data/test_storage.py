import time

import pytest
from buckets import Buckets, serving

from vit_jax.data import storage
from vit_jax.errors import UserError

FILES = {"a/one.txt": b"hello world", "a/b/two.txt": b"", "a-b/three.txt": b"3", "a/.hidden/four.txt": b"4"}


@pytest.fixture
def bucket(monkeypatch):
    """A bucket that holds FILES; a deadline of a second."""
    buckets = Buckets({f"bucket/{name}": data for name, data in FILES.items()}, page=2)
    with serving(buckets) as url:
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "1")
        yield buckets


@pytest.fixture(params=["local", "remote"])
def root(request, tmp_path, bucket):
    """The path of FILES."""
    if request.param == "remote":
        return "gs://bucket"
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return str(tmp_path)


def test_a_path_is_read_alike_wherever_it_is(root):
    one, two = f"{root}/a/one.txt", f"{root}/a/b/two.txt"
    assert [storage.read(one), storage.read(two)] == [b"hello world", b""]
    assert [storage.read(one, 6), storage.read(one, 2, 5), storage.read(one, 3, 3)] == [b"world", b"llo", b""]
    assert [storage.size(one), storage.size(two)] == [11, 0]
    assert [storage.is_file(path) for path in (one, f"{root}/a", f"{root}/c")] == [True, False, False]
    assert [storage.is_folder(path) for path in (one, f"{root}/a", f"{root}/a/on")] == [False, True, False]
    assert storage.files_below(root) == ["a-b/three.txt", "a/b/two.txt", "a/one.txt"]
    assert storage.files_below(f"{root}/a/") == ["b/two.txt", "one.txt"]
    with storage.open_for_reading(one) as file:
        assert (file.seek(-5, 2), file.read(3), file.seek(1), file.read(), file.read()) == (
            *(6, b"wor", 1, b"ello world", b""),
        )


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda root: storage.read(f"{root}/none"), 'none" does not exist'),
        (lambda root: storage.size(f"{root}/none"), 'none" does not exist'),
        (lambda root: storage.open_for_reading(f"{root}/none").read(), 'none" does not exist'),
        (lambda root: storage.read(f"{root}/a"), 'a" is a folder; give a file'),
        (lambda root: storage.size(f"{root}/a"), 'a" is a folder; give a file'),
        (lambda root: storage.files_below(f"{root}/none"), 'none" does not exist; give a folder'),
        (lambda root: storage.files_below(f"{root}/a/one.txt"), 'one.txt" is a file; give a folder'),
        (lambda root: storage.read(f"{root}/a/one.txt", 5, 12), "has 11 bytes, and bytes 5 to 12 were wanted"),
    ],
)
def test_what_is_not_there_is_a_line(root, ask, message):
    with pytest.raises(UserError, match=message) as raised:
        ask(root)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("path", ["s3://bucket/a", "https://example.com/a", "gs://", "gs://b"])
def test_an_address_that_cannot_be_one_is_a_line(path):
    with pytest.raises(UserError, match="give"):
        storage.read(path)


ASK = [storage.read, storage.size, storage.is_file, storage.is_folder, storage.files_below]


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_no_permission_at_once(bucket, monkeypatch, ask, status):
    monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "60")
    bucket.status = status
    start = time.monotonic()
    with pytest.raises(UserError, match='no permission to read "gs://bucket/a/one.txt"'):
        ask("gs://bucket/a/one.txt")
    assert time.monotonic() - start < 5
    assert len(bucket.asked) == 1


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"hang": 30}])
def test_no_answer_is_an_error_when_the_deadline_is_over(bucket, monkeypatch, ask, fault):
    monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "0.4")
    vars(bucket).update(fault)
    start = time.monotonic()
    with pytest.raises(UserError, match=r'"gs://bucket/a" gave no answer within 0\.4 seconds'):
        ask("gs://bucket/a")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("status", [503, 429])
def test_a_third_of_the_answers_may_be_errors(bucket, monkeypatch, status):
    monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "60")
    bucket.status, bucket.share = status, 0.3
    for _ in range(3):
        assert storage.read("gs://bucket/a/one.txt") == b"hello world"
        assert len(storage.files_below("gs://bucket")) == 3
    assert len(bucket.asked) > 3 * (1 + 2), "the faults were not met"


def test_nobody_home_is_an_error_when_the_deadline_is_over(monkeypatch):
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", "0.5")
    for ask in ASK:
        with pytest.raises(UserError, match="gave no answer within"):
            ask("gs://bucket/a")


@pytest.mark.parametrize("seconds", ["0", "soon", "nan", "-1"])
def test_a_deadline_that_is_none_is_a_line(monkeypatch, bucket, seconds):
    monkeypatch.setenv("VIT_JAX_STORAGE_DEADLINE", seconds)
    with pytest.raises(UserError, match="give seconds, more than 0"):
        storage.read("gs://bucket/a/one.txt")
