"""As much of Google Cloud Storage's JSON API as a store needs, in memory.

There is no real server of it to be had. What is said here is what Google documents of the calls:
https://cloud.google.com/storage/docs/json_api/v1.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "pbserve-models"
_PLACE = re.compile(r"/(?:(upload|download)/)?storage/v1/b/([^/]+)/o(?:/(.*))?")


class GoogleStorage:
    """One bucket; `requests` has method and path of every call."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.uploads: dict[str, tuple[str, bool, bytearray]] = {}
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()

    def put(self, name: str, content: bytes, *, only_new: bool) -> bool:
        """Puts an object; False when it is there and must not be."""
        with self.lock:
            if only_new and name in self.objects:
                return False
            self.objects[name] = (content, datetime.now(timezone.utc))
            return True

    def described(self, name: str) -> dict[str, Any]:
        content, updated = self.objects[name]
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        return {
            "name": name,
            "bucket": BUCKET,
            "size": str(len(content)),
            "etag": digest.hex(),
            "md5Hash": base64.b64encode(digest).decode(),
            "updated": updated.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    storage: GoogleStorage

    def do_GET(self) -> None:
        kind, name, asked = self._asked()
        if kind is None:
            self._answer(404, {"error": {"code": 404, "message": "no such bucket"}})
        elif not name:
            prefix = asked.get("prefix", "")
            names = sorted(one for one in self.storage.objects if one.startswith(prefix))
            self._answer(200, {"items": [self.storage.described(one) for one in names]})
        elif name not in self.storage.objects:
            self._answer(404, {"error": {"code": 404, "message": "No such object"}})
        elif asked.get("alt") == "media":
            content = self.storage.objects[name][0]
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted:
                content = content[int(wanted[1]) : int(wanted[2]) + 1 if wanted[2] else None]
            self._answer(206 if wanted else 200, content)
        else:
            self._answer(200, self.storage.described(name))

    def do_POST(self) -> None:
        kind, _, asked = self._asked()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        only_new = asked.get("ifGenerationMatch") == "0"
        if kind is None:
            self._answer(404, {"error": {"code": 404, "message": "no such bucket"}})
        elif "upload_id" in asked:
            self._take_part(asked["upload_id"], body)
        elif asked["uploadType"] == "resumable":
            number = str(len(self.storage.uploads))
            self.storage.uploads[number] = (json.loads(body)["name"], only_new, bytearray())
            host = self.headers["Host"]
            place = f"http://{host}/upload/storage/v1/b/{BUCKET}/o?upload_id={number}"
            self._answer(200, {}, {"Location": place})
        else:
            # multipart/related: a part that describes, and one that is the content.
            _, described, content = body.split(b"--==0==\n", 2)[0:3]
            name = json.loads(described.partition(b"\n\n")[2])["name"]
            bare = content.partition(b"\n\n")[2].removesuffix(b"\n--==0==--")
            self._put(name, bare, only_new=only_new)

    def _take_part(self, upload: str, part: bytes) -> None:
        name, only_new, content = self.storage.uploads[upload]
        content += part
        total = int(self.headers["Content-Range"].rpartition("/")[2])
        if len(content) < total:
            self._answer(308, b"", {"Range": f"bytes=0-{len(content) - 1}"})
        else:
            self._put(name, bytes(content), only_new=only_new)

    def do_DELETE(self) -> None:
        _, name, _ = self._asked()
        gone = self.storage.objects.pop(name, None)
        self._answer(404 if gone is None else 204, b"")

    def log_message(self, *arguments: object) -> None:
        """Says nothing: the list of requests has it."""

    def _put(self, name: str, content: bytes, *, only_new: bool) -> None:
        if self.storage.put(name, content, only_new=only_new):
            self._answer(200, self.storage.described(name))
        else:
            self._answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})

    def _asked(self) -> tuple[str | None, str, dict[str, str]]:
        parts = urlsplit(self.path)
        place = _PLACE.fullmatch(parts.path)
        self.storage.requests.append((self.command, self.path))
        assert place is not None, self.path
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        kind = place[1] or "object" if place[2] == BUCKET else None
        return kind, unquote(place[3] or ""), query

    def _answer(
        self, status: int, body: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def google_storage() -> Iterator[tuple[GoogleStorage, str]]:
    """Runs a server until the block ends, and yields it with its address."""
    storage = GoogleStorage()
    answers = type("Answers", (_Answers,), {"storage": storage})
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield storage, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
