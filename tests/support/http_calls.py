"""Plain HTTP requests, with exactly the headers that a test wants."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_BOUNDARY = "boundary-of-a-test"


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


def call(
    url: str,
    method: str = "GET",
    path: str = "",
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Sends one request to `url` and the relative `path`."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, f"/{path}", body, dict(headers or {}))
        response = connection.getresponse()
        text = response.read().decode()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, text)
    finally:
        connection.close()


def form_body(fields: Mapping[str, str], image: bytes | None, file_name: str = "x.png") -> bytes:
    """Returns a form as a browser encodes it."""
    before = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name="
    parts = [f'{before}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    if image is not None:
        head = f'{before}"image"; filename="{file_name}"\r\nContent-Type: image/png\r\n\r\n'
        parts.append(head.encode() + image + b"\r\n")
    return b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])


FORM_TYPE = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


def send_form(
    url: str,
    fields: Mapping[str, str],
    image: bytes | None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Sends the page's form."""
    sent = {**FORM_TYPE, **(headers or {})}
    return call(url, "POST", "predict", body=form_body(fields, image), headers=sent)
