"""Google Cloud Storage, read: ranges of objects, their sizes, their names; every question has a deadline.

Content comes by tensorstore, which keeps connections open and tries again what may pass. Its listing of a bucket
answers a refusal with an empty list and knows no sizes, so these two are asked of Cloud Storage's JSON API.
Whoever may read a bucket is known by the application default credentials; anybody may read a public one.
TENSORSTORE_GCS_HTTP_URL is the address of an emulator, as for tensorstore itself.
"""

import functools
import importlib
import json
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from vit_jax.errors import UserError

DEADLINE = 60.0  # seconds that a bucket has for an answer, all further tries included
TRY_AGAIN = {408, 429, 500, 502, 503, 504}  # https://cloud.google.com/storage/docs/retry-strategy


def read(path: str, start: int, stop: int | None) -> bytes:
    """Returns the bytes `start` to `stop` (None: the end) of an object."""
    bucket, name = _bucket_and_name(path)
    seconds = deadline()
    try:
        asked = slice(start, stop) if start or stop is not None else None
        found = _key_values(bucket, _address()).read(name, byte_range=asked).result(timeout=seconds)
    except TimeoutError:
        raise no_answer(path) from None
    except ValueError as error:
        if "PERMISSION_DENIED" in str(error):
            raise _no_permission(path) from None
        if "OUT_OF_RANGE" in str(error):
            raise too_short(path, start, stop, size(path)) from None
        raise UserError(f'cannot read "{path}": {str(error).splitlines()[0]}') from None
    if found.state != "value":
        raise _missing(path)
    return found.value


def size(path: str) -> int:
    """Returns the bytes of an object."""
    found = _describe(path, "size")
    if found is None:
        raise _missing(path)
    return int(found["size"])


def is_object(path: str) -> bool:
    """Tells whether there is an object of this very name."""
    return bool(_bucket_and_name(path)[1]) and _describe(path, "name") is not None


def is_prefix(path: str) -> bool:
    """Tells whether an object's name begins with this one and a slash."""
    bucket, name = _bucket_and_name(path)
    found = _ask(path, f"{bucket}/o", prefix=_prefix(name), maxResults="1", fields="items(name)")
    return bool(found and found.get("items"))


def names_below(path: str, delimiter: str = "") -> Iterator[str]:
    """Yields the names of the objects below `path`, relative to it; each page has the deadline to itself.

    With the delimiter "/", only those directly below it, and those of the folders there, with a slash at the end.
    """
    bucket, name = _bucket_and_name(path)
    prefix = _prefix(name)
    query = {"prefix": prefix, "delimiter": delimiter, "fields": "nextPageToken,prefixes,items(name)"}
    while True:
        answer = _ask(path, f"{bucket}/o", **query)
        if answer is None:
            raise UserError(f'"{path}" does not exist: there is no bucket "{bucket}"; check the name')
        yield from (folder.removeprefix(prefix) for folder in answer.get("prefixes", ()))
        # An object whose name ends in a slash is an empty folder, as the console makes them.
        yield from (i["name"].removeprefix(prefix) for i in answer.get("items", ()) if not i["name"].endswith("/"))
        if "nextPageToken" not in answer:
            return
        query["pageToken"] = answer["nextPageToken"]


def deadline() -> float:
    """Returns the seconds that a bucket has for an answer: $VIT_JAX_STORAGE_DEADLINE, or DEADLINE."""
    given = os.environ.get("VIT_JAX_STORAGE_DEADLINE", "")
    try:
        seconds = float(given or DEADLINE)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UserError(f"VIT_JAX_STORAGE_DEADLINE is {given!r}; give seconds, more than 0")
    return seconds


def no_answer(path: str) -> UserError:
    """Returns the error for a bucket that let the deadline pass."""
    return UserError(
        f'"{path}" gave no answer within {deadline():g} seconds, or errors only; '
        "try again later, or allow more by VIT_JAX_STORAGE_DEADLINE"
    )


def too_short(path: str, start: int, stop: int | None, size: int) -> UserError:
    """Returns the error for a file that ends before what was asked of it."""
    wanted = f"{start} to {stop}" if stop is not None else f"from {start}"
    return UserError(f'"{path}" has {size} bytes, and bytes {wanted} were wanted; is it whole?')


def _bucket_and_name(path: str) -> tuple[str, str]:
    bucket, _, name = path.removeprefix("gs://").partition("/")
    if not bucket:
        raise UserError(f'"{path}" names no bucket; give gs://bucket/name')
    return bucket, name


def _prefix(name: str) -> str:
    return f"{name.rstrip('/')}/" if name.strip("/") else ""


@functools.cache
def _key_values(bucket: str, address: str) -> Any:
    """Returns tensorstore's view of a bucket; it reads the address of Cloud Storage from the environment itself."""
    import tensorstore

    retries = {"max_retries": 1000, "initial_delay": "250ms", "max_delay": "8s"}  # until our own deadline
    try:
        place = {"driver": "gcs", "bucket": bucket, "context": {"gcs_request_retries": retries}}
        return tensorstore.KvStore.open(place).result(timeout=deadline())
    except ValueError:
        raise UserError(f'"gs://{bucket}" is no name of a bucket; give gs://bucket/name') from None


def _address() -> str:
    return os.environ.get("TENSORSTORE_GCS_HTTP_URL", "https://storage.googleapis.com")


def _describe(path: str, fields: str) -> dict[str, Any] | None:
    bucket, name = _bucket_and_name(path)
    return _ask(path, f"{bucket}/o/{urllib.parse.quote(name, safe='')}", fields=fields)


def _ask(path: str, resource: str, **query: str) -> dict[str, Any] | None:
    """Returns what Cloud Storage's JSON API says of a resource, None where there is none; trying again until late."""
    said = urllib.parse.urlencode({key: value for key, value in query.items() if value})
    url = f"{_address()}/storage/v1/b/{resource}?{said}"
    seconds = deadline()
    late = time.monotonic() + seconds
    pause = 0.25
    while True:
        try:
            request = urllib.request.Request(url, headers=_authorization(path))
            with urllib.request.urlopen(request, timeout=max(0.01, late - time.monotonic())) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if error.code in (401, 403):
                raise _no_permission(path) from None
            if error.code not in TRY_AGAIN:
                raise UserError(f'cannot read "{path}": HTTP {error.code} {error.reason} from {url}') from None
        except (OSError, ValueError):  # no connection, none in time, or an answer cut short
            pass
        pause = min(2 * pause, 8) * random.uniform(0.5, 1)
        if time.monotonic() + pause > late:
            raise no_answer(path) from None
        time.sleep(pause)


def _authorization(path: str) -> dict[str, str]:
    credentials = _credentials(_address())
    if credentials is None:
        return {}
    if not credentials.valid:
        transport: Any = importlib.import_module("google.auth.transport.requests")
        refused: Any = importlib.import_module("google.auth.exceptions").GoogleAuthError
        try:
            credentials.refresh(transport.Request())
        except refused as error:
            raise UserError(f'cannot log in to read "{path}": {str(error).splitlines()[0]}') from None
    return {"Authorization": f"Bearer {credentials.token}"}


@functools.cache
def _credentials(address: str) -> Any:
    """Returns the application default credentials; None where there are none, or no google-auth to find them with."""
    if not address.startswith("https://"):
        return None  # not for an emulator, nor for anybody to hear
    try:
        auth: Any = importlib.import_module("google.auth")
    except ImportError:  # anybody, then
        return None
    try:
        return auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_only"])[0]
    except auth.exceptions.DefaultCredentialsError:
        return None


def _missing(path: str) -> UserError:
    if is_prefix(path):
        return UserError(f'"{path}" is a folder; give a file')
    return UserError(f'"{path}" does not exist; check the path')


def _no_permission(path: str) -> UserError:
    return UserError(
        f'no permission to read "{path}"; log in with "gcloud auth application-default login" as somebody who may, '
        "and install the extra [gcs]"
    )
