"""A Google Cloud Storage of one machine, with faults: the JSON API as tensorstore, array_record and gcsfs speak it."""

import contextlib
import http.server
import json
import random
import threading
import time
import urllib.parse


class Buckets:
    """Objects `{bucket/name: bytes}` behind `url`; set the faults below at any time; `asked` holds every request."""

    def __init__(self, objects=None, page=1000):
        self.objects = dict(objects or {})
        self.page = page  # names on a page of a listing
        self.status = None  # what every request is answered with
        self.share = 1.0  # the share of requests that `status` answers
        self.hang = 0.0  # seconds before an answer
        self.asked = []
        self.random = random.Random(0)
        self.lock = threading.Lock()

    def put(self, bucket, root):
        """Stores every file below the folder `root`."""
        for path in sorted(root.rglob("*")):
            if path.is_file():
                self.objects[f"{bucket}/{path.relative_to(root).as_posix()}"] = path.read_bytes()

    def answer(self, path, headers):
        """Returns the status, the headers and the body that a GET is answered with."""
        with self.lock:
            self.asked.append(path)
            faulty = self.status is not None and self.random.random() < self.share
        if self.hang:
            time.sleep(self.hang)
        if faulty:
            return self.status, {}, json.dumps({"error": {"code": self.status, "message": "fault"}}).encode()
        url = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(url.query))
        parts = url.path.removeprefix("/download").removeprefix("/storage/v1").split("/", 4)
        parts = [urllib.parse.unquote(part) for part in parts]
        if len(parts) == 4 and parts[1] == "b" and parts[3] == "o":
            return self.listing(parts[2], query)
        if len(parts) == 5 and parts[1] == "b":  # /b/BUCKET/o/NAME
            name = f"{parts[2]}/{parts[4]}"
        else:  # the XML API: /BUCKET/NAME
            name = urllib.parse.unquote(url.path).lstrip("/")
            query["alt"] = "media"
        if name not in self.objects:
            return 404, {}, json.dumps({"error": {"code": 404, "message": f"No such object: {name}"}}).encode()
        if query.get("alt") == "media":
            return self.content(self.objects[name], headers.get("range"))
        return 200, {"content-type": "application/json"}, json.dumps(self.entry(name)).encode()

    def entry(self, name):
        bucket, _, inside = name.partition("/")
        size = str(len(self.objects[name]))
        made = {"timeCreated": "2024-01-01T00:00:00Z", "updated": "2024-01-01T00:00:00Z", "storageClass": "STANDARD"}
        same = {"kind": "storage#object", "generation": "1", "metageneration": "1", "etag": "1", "crc32c": "AAAAAA=="}
        return {"name": inside, "bucket": bucket, "size": size, "id": f"{name}/1", **made, **same}

    def listing(self, bucket, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        start, end = query.get("startOffset", ""), query.get("endOffset")
        after = query.get("pageToken", "")
        found, folders = [], []
        for name in sorted(self.objects):
            inside = name.removeprefix(f"{bucket}/")
            if inside == name or not inside.startswith(prefix) or inside < start or (end and inside >= end):
                continue
            folder, found_delimiter, _ = inside[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            key = prefix + folder + found_delimiter if found_delimiter else inside
            if key <= after or key in folders:
                continue
            if len(found) + len(folders) == min(self.page, int(query.get("maxResults", self.page))):
                page = {"nextPageToken": max([*(entry["name"] for entry in found), *folders])}
                break
            if found_delimiter:
                folders.append(key)
            else:
                found.append(self.entry(name))
        else:
            page = {}
        body = {"kind": "storage#objects", "items": found, "prefixes": folders, **page}
        return 200, {"content-type": "application/json"}, json.dumps(body).encode()

    def content(self, data, wanted):
        given = {"x-goog-generation": "1", "etag": "1", "content-type": "application/octet-stream"}
        if not wanted:
            return 200, given, data
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(data) - int(last))
        stop = min(int(last) + 1, len(data)) if first and last else len(data)
        if start >= len(data):
            return 416, given | {"content-range": f"bytes */{len(data)}"}, b""
        return 206, given | {"content-range": f"bytes {start}-{stop - 1}/{len(data)}"}, data[start:stop]


@contextlib.contextmanager
def serving(buckets):
    """Serves the buckets on a port of this machine while the block runs; gives the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, and no packet waits for another's receipt
        disable_nagle_algorithm = True

        def do_GET(self):  # noqa: N802
            status, headers, body = buckets.answer(self.path, self.headers)
            with contextlib.suppress(OSError):  # the one who asked has given up
                self.send_response(status)
                for key, value in (headers | {"content-length": str(len(body))}).items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body if self.command == "GET" else b"")
                self.wfile.flush()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *message):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # connections are dropped by those who gave up
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
