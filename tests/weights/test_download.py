import base64
import errno
import functools
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hosts import Answer, host

from vit_jax.errors import UserError
from vit_jax.weights.names import cache, download
from vit_jax.weights.names.cache import Patience

ROOT = Path(__file__).parents[2]
BYTES = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("VIT_JAX_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache, "PATIENCE", Patience(attempts=3, wait=0.01, most_wait=0.02, stall=0.3))


def fetch(server, path="file", token=""):
    return cache.fetch(f"{server.url}/{path}", cache.place("folder/file"), "the file", token)


def left():
    """The names of what the cache holds but for its lock."""
    return sorted(os.listdir(cache.place("folder"))) if cache.place("folder").exists() else []


def sums(body):
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    return {"X-Linked-Etag": f'"{hashlib.sha256(body).hexdigest()}"'}, {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"}


def test_a_file_is_fetched_once():
    with host(file=BYTES) as server:
        assert fetch(server).read_bytes() == BYTES
        fetch(server)
        assert (server.paths, server.asked("Accept-Encoding")) == (["/file"], ["identity"])
    assert fetch(server).read_bytes() == BYTES  # the host is gone
    assert left() == [".file.json", ".lock", "file"]


@pytest.mark.parametrize("stalls", [False, True], ids=["drops", "stalls"])
def test_only_the_rest_travels_after_a_break(stalls):
    with host(file=[Answer(BYTES, stops=100_000, stalls=stalls), Answer(BYTES)]) as server:
        assert fetch(server).read_bytes() == BYTES
        assert server.asked("Range") == [None, "bytes=100000-"]
        assert server.asked("If-Range") == [None, f'"{hashlib.sha1(BYTES).hexdigest()}"']
        assert server.sent == [100_000, 200_000]


def test_what_came_is_kept_for_the_next_start():
    with host(file=[Answer(BYTES, stops=100_000), Answer(BYTES, stops=0)]) as server:
        with pytest.raises(UserError, match=r"100,000 bytes came of 300,000, 3 times .* \(what has come is kept"):
            fetch(server)
        assert left() == [".file.json", ".file.unfinished", ".lock"]
        server.answers["/file"] = [Answer(BYTES)]
        server.requests.clear()
        assert fetch(server).read_bytes() == BYTES
        assert (server.asked("Range"), server.sent) == (["bytes=100000-"], [200_000])


def test_patience_does_not_end_while_bytes_come():
    with host(file=[*(Answer(BYTES, stops=50_000) for _ in range(5)), Answer(BYTES)]) as server:
        assert fetch(server).read_bytes() == BYTES
        assert server.sent == [50_000] * 6


def test_all_that_came_before_a_crash_is_only_looked_at():
    with host(file=Answer(BYTES, headers=sums(BYTES)[0])) as server:
        place = fetch(server)
        place.rename(download.unfinished_of(place))
        assert fetch(server).read_bytes() == BYTES
        assert len(server.requests) == 1


def test_a_host_without_parts_starts_over():
    with host(file=[Answer(BYTES, stops=100_000), Answer(BYTES, ranges=False)]) as server:
        assert fetch(server).read_bytes() == BYTES
        assert server.sent == [100_000, 300_000]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_no_part_is_asked_for_without_a_strong_etag(etag):
    with host(file=[Answer(BYTES, stops=100_000, etag=etag), Answer(BYTES, etag=etag)]) as server:
        assert fetch(server).read_bytes() == BYTES
        assert (server.asked("Range"), server.sent) == ([None, None], [100_000, 300_000])


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_meanwhile_is_not_pieced_together(heeds):
    with host(file=[Answer(BYTES, stops=100_000), Answer(OTHER, heeds=heeds)]) as server:
        assert fetch(server).read_bytes() == OTHER


def test_a_part_that_was_not_asked_for_is_not_taken():
    odd = Answer(BYTES, headers={"Content-Range": "bytes 7-299999/300000"})
    with host(file=[Answer(BYTES, stops=100_000), odd, Answer(BYTES)]) as server:
        assert fetch(server).read_bytes() == BYTES
        assert server.asked("Range") == [None, "bytes=100000-", None]


def test_a_file_that_became_shorter_starts_over():
    short = BYTES[:50_000]
    with host(file=[Answer(BYTES, stops=100_000, etag='"same"'), Answer(short, etag='"same"')]) as server:
        assert fetch(server).read_bytes() == short


@pytest.mark.parametrize("kind", [0, 1], ids=["sha256", "md5"])
def test_a_wrong_sum_is_refused(kind):
    with host(file=Answer(BYTES, headers=sums(OTHER)[kind])) as server:
        message = r"/file is not what its server promised: its (sha256|md5) is \w+, promised was \w+; nothing is kept"
        with pytest.raises(UserError, match=message):
            fetch(server)
        assert len(server.requests) == 1
        assert left() == [".file.json", ".lock"]
        server.answers["/file"] = [Answer(BYTES, headers=sums(BYTES)[kind])]
        assert fetch(server).read_bytes() == BYTES


def test_a_wrong_sum_of_parts_starts_over():
    """The first part is damaged here, as by a disk, or there, by a host that changed the file and not its ETag."""
    first = Answer(OTHER, stops=100_000, etag='"same"')
    with host(file=[first, Answer(BYTES, headers=sums(BYTES)[1], etag='"same"')]) as server:
        assert fetch(server).read_bytes() == BYTES
        assert server.sent == [100_000, 200_000, 300_000]


def test_the_sum_of_what_is_stored_zipped_is_not_that_of_the_file():
    headers = sums(OTHER)[1] | {"x-goog-stored-content-encoding": "gzip"}
    with host(file=Answer(BYTES, headers=headers)) as server:
        assert fetch(server).read_bytes() == BYTES


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(BYTES, claims=400_000), r"300,000 bytes came of 400,000, \d times in a row"),
        (
            Answer(BYTES, claims=200_000, headers=sums(BYTES)[1]),
            "its md5 is|300,000 bytes came where",
        ),
        (Answer(BYTES[:200_000], headers={"X-Linked-Size": "300000"}, etag=""), r"200,000 bytes came of 300,000"),
        (Answer(BYTES, headers={"X-Linked-Size": "200000"}), "300,000 bytes came where 200,000 were promised"),
    ],
    ids=["more", "less", "less than linked", "more than linked"],
)
def test_a_lie_about_the_length_is_noticed(answer, message):
    with host(file=answer) as server:
        with pytest.raises(UserError, match=message):
            fetch(server)
        assert not cache.place("folder/file").exists()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_final(status):
    with host(file=Answer(b"no", status, {"X-Error-Code": "Why"})) as server:
        with pytest.raises(download.RefusedError, match=rf"^127.0.0.1:\d+ answers {status} Why$") as error:
            fetch(server)
        assert (error.value.status, error.value.reason, len(server.requests)) == (status, "Why", 1)


def test_a_busy_host_is_waited_for(monkeypatch):
    waits = []
    monkeypatch.setattr(cache.time, "sleep", waits.append)
    monkeypatch.setattr(cache, "PATIENCE", Patience(attempts=5, wait=2.0, most_wait=60.0))
    busy = [Answer(b"", 503), Answer(b"", 429, {"Retry-After": "7"}), Answer(b"", 503, {"Retry-After": "3600"})]
    with host(file=[*busy, Answer(b"", 500), Answer(BYTES)]) as server:
        assert fetch(server).read_bytes() == BYTES
    assert waits == [2, 7, 60, 16]


def test_a_host_that_stays_busy_is_given_up_in_a_line():
    with host(file=Answer(b"", 503)) as server:
        with pytest.raises(UserError, match="cannot fetch the file: .* answers 503 Service Unavailable, 3 times"):
            fetch(server)
        assert len(server.requests) == 3


def test_the_token_is_not_shown_to_another_host():
    with host(file=BYTES) as storage, host() as server:
        said = sums(BYTES)[0] | {"X-Repo-Commit": "c0ffee", "X-Linked-Size": "300000"}
        server.answers["/file"] = [Answer(b"", 302, said | {"Location": f"{storage.url}/file"})]
        server.answers["/old"] = [Answer(b"", 307, {"Location": "/file"})]
        assert fetch(server, "old", token="secret").read_bytes() == BYTES
        assert server.asked("Authorization") == ["Bearer secret"] * 2
        assert storage.asked("Authorization") == [None]
    known = download.promises(cache.place("folder/file"))
    assert known["commit"] == "c0ffee" and known["sha256"] == hashlib.sha256(BYTES).hexdigest()


def test_a_token_that_went_round_by_another_host_stays_away():
    with host() as elsewhere, host(file=BYTES) as server:
        elsewhere.answers["/file"] = [Answer(b"", 302, {"Location": f"{server.url}/file"})]
        server.answers["/away"] = [Answer(b"", 302, {"Location": f"{elsewhere.url}/file"})]
        fetch(server, "away", token="secret")
        assert server.asked("Authorization") == ["Bearer secret", None]


def test_a_circle_of_redirects_ends():
    with host(file=Answer(b"", 302, {"Location": "/file"})) as server:
        with pytest.raises(download.RefusedError, match="answers 302"):
            fetch(server)


@pytest.mark.parametrize("setting", ["VIT_JAX_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_what_is_missing_and_where(setting, monkeypatch):
    with host(file=BYTES) as server:
        monkeypatch.setenv(setting, "1")
        place = cache.place("folder/file")
        with pytest.raises(UserError) as error:
            fetch(server)
        message = f"the file is not in the cache ({place}), and {setting}=1 forbids the network; unset it, or put "
        assert str(error.value) == f"{message}{server.url}/file there by hand"
        assert (server.requests, left()) == ([], [])
        monkeypatch.setenv(setting, "0")
        fetch(server)
        monkeypatch.setenv(setting, "true")
        assert fetch(server).read_bytes() == BYTES


def test_no_network_is_a_line():
    with host() as server:
        pass
    with pytest.raises(UserError, match="cannot fetch the file: .*refused, 3 times in a row, and it is not in"):
        fetch(server)


def test_many_at_once_fetch_once():
    with host(file=[Answer(BYTES, stops=100_000, stalls=True), Answer(BYTES)]) as server:
        threads = [threading.Thread(target=fetch, args=[server]) for _ in range(3)]
        code = "import sys; from pathlib import Path; from vit_jax.weights.names import cache; "
        code += "cache.fetch(sys.argv[1], cache.place('folder/file'), 'the file')"
        command = [sys.executable, "-c", code, f"{server.url}/file"]
        processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for process in processes:
            assert process.communicate()[0] is None and process.returncode == 0
        assert server.paths == ["/file"] * 2  # the one that stalled, and the rest
        assert cache.place("folder/file").read_bytes() == BYTES


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_line():
    place = cache.place("folder/file")
    place.parent.mkdir(parents=True)
    download.unfinished_of(place).symlink_to("/dev/full")
    with host(file=BYTES) as server:
        with pytest.raises(UserError, match="cannot write .*/folder/file: No space left on device; make room"):
            fetch(server)


def test_a_cache_that_cannot_be_written_is_a_line(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    with host(file=BYTES) as server:
        with pytest.raises(UserError, match="cannot write .*: Not a directory; make room there, or set VIT_JAX_CACHE"):
            fetch(server)


def test_what_is_there_is_read_from_a_cache_that_cannot_be_written(monkeypatch):
    with host(file=BYTES) as server:
        fetch(server)
        for name in ("mkdir", "open"):
            monkeypatch.setattr(Path, name, functools.partial(refuse, Path))
        monkeypatch.setattr("builtins.open", refuse)
        assert fetch(server) == cache.place("folder/file")


def refuse(*_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize("path", ["../up", "folder/../../up", "/etc/passwd", "folder//file", ".hidden", "a\\b", "a\0b"])
def test_a_path_that_climbs_out_of_the_cache_is_refused(path):
    with pytest.raises(UserError, match="is no name of published weights"):
        cache.place(path)


def test_the_cache_is_in_the_home_by_default(monkeypatch):
    monkeypatch.delenv("VIT_JAX_CACHE")
    assert cache.place("a/b") == Path.home() / ".cache/vit_jax/weights/a/b"


def test_large_files_are_announced(capsys):
    with host(file=BYTES * 4) as server:
        fetch(server)
    first, last = capsys.readouterr().err.splitlines()
    assert first == "fetching the file, 1 MiB" and last == "fetched the file in 0 s"


def test_a_terminal_shows_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with host(file=BYTES) as server:
        fetch(server)
    assert "the file" in terminal.getvalue() and "100%" in terminal.getvalue()


def test_damaged_notes_of_an_unfinished_file_are_no_harm():
    place = cache.place("folder/file")
    place.parent.mkdir(parents=True)
    download.unfinished_of(place).write_bytes(OTHER[:100])
    (place.parent / ".file.json").write_text(json.dumps({"etag": '"x"'})[:5])
    with host(file=BYTES) as server:
        assert fetch(server).read_bytes() == BYTES
