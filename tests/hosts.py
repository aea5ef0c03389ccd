"""Servers of files that keep no promise: they drop, stall, lie about lengths and sums, change files, send elsewhere."""

import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclasses.dataclass
class Answer:
    """How one request is answered.

    Attributes:
      body: of the whole file.
      status: 200 turns to 206 where a part is asked for and given.
      headers: sent besides Content-Length, Content-Range and ETag.
      stops: after how many bytes the connection is closed.
      stalls: whether it is kept open then, with nothing more on it.
      claims: the Content-Length that is claimed.
      etag: by default one of the bytes; "" for none.
      ranges: whether parts are given at all.
      heeds: whether If-Range is looked at.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    stops: int | None = None
    stalls: bool = False
    claims: int | None = None
    etag: str | None = None
    ranges: bool = True
    heeds: bool = True


@dataclasses.dataclass
class Request:
    path: str
    headers: Message
    sent: int = 0


class Host:
    """Answers each path with the next of its answers, the last of them again and again; 404 to other paths."""

    def __init__(self, answers: dict[str, list[Answer]]):
        self.answers, self.requests = answers, list[Request]()
        self.released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler):  # noqa: N802, N805
                self.answer(handler)

            def log_message(handler, *_: Any):  # noqa: N805
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def asked(self, header: str) -> list[str | None]:
        """Returns what each request had as this header."""
        return [request.headers.get(header) for request in self.requests]

    @property
    def sent(self) -> list[int]:
        return [request.sent for request in self.requests]

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        request = Request(handler.path, handler.headers)
        self.requests.append(request)
        answers = self.answers.get(handler.path, [Answer(b"not found", 404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        etag = f'"{hashlib.sha1(answer.body).hexdigest()}"' if answer.etag is None else answer.etag
        body, status, headers = answer.body, answer.status, dict(answer.headers)
        asked, known = handler.headers.get("Range"), handler.headers.get("If-Range")
        if asked and answer.ranges and status == 200 and (known == etag or not answer.heeds):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            status = 206 if start < len(body) else 416
            headers.setdefault("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        handler.send_response(status)
        length = len(body) if answer.claims is None else answer.claims
        for name, value in ({"Content-Length": str(length), "ETag": etag} | headers).items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        request.sent = len(body[: answer.stops])
        handler.wfile.write(body[: answer.stops])
        handler.wfile.flush()
        if answer.stalls:
            self.released.wait(10)
        handler.close_connection = True


@contextmanager
def host(**answers: bytes | Answer | list[Answer]) -> Iterator[Host]:
    """Runs a host of files by name, such as `file=b"…"` for /file; more are put into its `answers` by path."""
    made = {f"/{name}": [as_answer(one) for one in as_list(answer)] for name, answer in answers.items()}
    server = Host(made)
    thread = threading.Thread(target=server.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.server.shutdown()
        server.server.server_close()
        thread.join()


def as_list(answer: Any) -> list[Any]:
    return answer if isinstance(answer, list) else [answer]


def as_answer(answer: bytes | Answer) -> Answer:
    return answer if isinstance(answer, Answer) else Answer(answer)
