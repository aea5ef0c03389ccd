"""One file over HTTP: gone on with where it broke off, and checked against what its server promised."""

import base64
import functools
import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vit_jax.errors import UserError

CHUNK = 2**18  # bytes read at a time, at the most
PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)  # besides 500 and above

# What is told how many bytes have come, of how many where the server says.
Told = Callable[[int, int | None], None]


class RefusedError(UserError):
    """The server does not give a file: `status` is HTTP's, `reason` the server's own word where it has one."""

    def __init__(self, host: str, status: int, reason: str):
        super().__init__(f"{host} answers {status} {reason}")
        self.status, self.reason = status, reason


class BrokenOffError(Exception):
    """What another attempt may mend, after as many seconds as the server asks for, if it does."""

    def __init__(self, message: object, wait: float | None = None):
        super().__init__(str(message) or type(message).__name__)
        self.wait = wait


def attempt(address: str, place: Path, token: str, stall: float, told: Told) -> None:
    """Fetches what is missing of the file of this address; it stands at `place` if all has come and is as promised.

    Until then it stands beside, and what was promised beside that.

    Args:
      address: https://…
      place: where the file goes; its folder is there.
      token: shown to the host of `address`, and to no other that it sends us to; "" for none.
      stall: seconds without a byte that count as a failure.
      told: called as bytes come.

    Raises:
      BrokenOffError: not all has come; what has is kept.
      RefusedError: the server has no such file, or not for us.
      UserError: another file came than was promised.
      OSError: it cannot be written.
    """
    unfinished = unfinished_of(place)
    known, had = promises(place), size_of(unfinished)
    if not had or had != known.get("size"):  # else all has come, and was not yet looked at
        known, had = _transfer(address, place, token, stall, told)
    if size_of(unfinished) < known.get("size", 0):
        raise BrokenOffError(f"{size_of(unfinished):,} bytes came of {known['size']:,}")
    if wrong := _difference(unfinished, known):
        unfinished.unlink()
        if had:  # perhaps only what had come before was wrong
            raise BrokenOffError(wrong)
        raise UserError(f"{address} is not what its server promised: {wrong}; nothing is kept of it, try again later")
    unfinished.rename(place)


def promises(place: Path) -> dict[str, Any]:
    """Returns what the server said of the file at `place`: "etag", "size", "sha256", "md5", "commit", those it has."""
    try:
        return json.loads(_promises_at(place).read_text())
    except (OSError, ValueError):
        return {}


def unfinished_of(place: Path) -> Path:
    """Returns where the part of a file stands that has come."""
    return place.with_name(f".{place.name}.unfinished")


def size_of(path: Path) -> int:
    """Returns the size of a file in bytes, 0 for one that is not there."""
    return path.stat().st_size if path.exists() else 0


def _promises_at(place: Path) -> Path:
    return place.with_name(f".{place.name}.json")


def _transfer(address: str, place: Path, token: str, stall: float, told: Told) -> tuple[dict[str, Any], int]:
    """Returns what the server promises, and how many bytes of the file are from before."""
    unfinished = unfinished_of(place)
    known, had = promises(place), size_of(unfinished)
    request = urllib.request.Request(address, headers={"User-Agent": "vit_jax"})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if had and "etag" in known:
        request.add_header("Range", f"bytes={had}-")
        request.add_header("If-Range", known["etag"])  # if it has changed: all of it
    answer, headers = _open(request, stall, unfinished)
    with answer:
        promised, rest = _promised(headers), answer.status == HTTPStatus.PARTIAL_CONTENT
        begins = str(answer.headers.get("Content-Range")).startswith(f"bytes {had}-")
        if rest and not (begins and promised.get("etag") == known.get("etag")):
            unfinished.unlink(missing_ok=True)
            raise BrokenOffError("the server sends another part than was asked for")
        with unfinished.open("ab" if rest else "wb") as file:
            _promises_at(place).write_text(json.dumps(promised))
            for chunk in _chunks(answer):
                file.write(chunk)
                told(file.tell(), promised.get("size"))
    return promised, had if rest else 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps the headers of every answer on the way, and the token from other hosts."""

    def __init__(self):
        self.headers: list[Message] = []

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.headers.append(headers)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:  # another scheme, host or port
            request.remove_header("Authorization")
        return request


def _open(request: urllib.request.Request, stall: float, unfinished: Path) -> tuple[Any, list[Message]]:
    """Returns the answer, and the headers of all that redirected to it and its own."""
    redirects = _Redirects()
    try:
        answer = urllib.request.build_opener(redirects).open(request, timeout=stall)
    except urllib.error.HTTPError as error:
        with error:
            host, status = urlsplit(error.url).netloc, error.code
            if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                unfinished.unlink(missing_ok=True)
                raise BrokenOffError(f"{host} has less of it than has come") from None
            if status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                wait = error.headers.get("Retry-After", "")
                wait = float(wait) if wait.isdecimal() else None
                raise BrokenOffError(f"{host} answers {status} {error.reason}", wait) from None
            raise RefusedError(host, status, error.headers.get("X-Error-Code", error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOffError(getattr(error, "reason", error)) from None
    return answer, [*redirects.headers, answer.headers]


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yields what comes. An error of the network is no OSError here, so that those that remain are of the disk."""
    try:
        while chunk := answer.read1(CHUNK):  # what has come, so that nothing of it is lost
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOffError(error) from None


def _promised(headers: list[Message]) -> dict[str, Any]:
    """Returns what the headers say of the file.

    Hugging Face has the SHA-256 of a large file as X-Linked-Etag, and what a branch is at as X-Repo-Commit, in the
    answer that redirects to its storage (huggingface_hub, file_download.py); Google has an MD5 of what it stores
    (https://cloud.google.com/storage/docs/xml-api/reference-headers).
    """

    def first(name: str) -> str:
        return next((one[name] for one in headers if name in one), "")

    last = headers[-1]
    sha256, etag = first("X-Linked-Etag").strip('"'), last.get("ETag", "")
    sizes = (first("X-Linked-Size"), last.get("Content-Range", "").rpartition("/")[2], last.get("Content-Length", ""))
    md5 = re.search(r"\bmd5=([\w+/]{22}==)", " ".join(last.get_all("x-goog-hash", [])))
    as_stored = last.get("x-goog-stored-content-encoding", "identity") == "identity"
    said = {
        "etag": etag if etag.startswith('"') else "",  # a weak one, W/"…", does not promise every bit
        "size": next((int(size) for size in sizes if size.isdecimal()), None),
        "sha256": sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else "",
        "md5": base64.b64decode(md5[1]).hex() if md5 and as_stored else "",
        "commit": first("X-Repo-Commit"),
    }
    return {name: value for name, value in said.items() if value not in ("", None)}


def _difference(path: Path, known: dict[str, Any]) -> str:
    """Returns how the file differs from what is known of it; "" if it does not."""
    if "size" in known and size_of(path) != known["size"]:
        return f"{size_of(path):,} bytes came where {known['size']:,} were promised"
    for kind in ("sha256", "md5"):
        if kind in known:
            with path.open("rb") as file:
                new = functools.partial(hashlib.new, kind, usedforsecurity=False)
                found = hashlib.file_digest(file, new).hexdigest()
            if found != known[kind]:
                return f"its {kind} is {found}, promised was {known[kind]}"
    return ""
