"""The status page of an inference service in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timezone

from inference_service.status_page.pages import StatusPage
from inference_service.status_page.report import ServerFacts
from service_kit.address import Address
from service_kit.http.http_server import HttpServer
from tests.support.inference_server import InferenceServer

MAX_BYTES = 2**20


@contextlib.contextmanager
def status_page(
    server: InferenceServer, *, host: str = "127.0.0.1", takes_images: bool = True
) -> Iterator[str]:
    """Opens the page until the block ends; yields its URL, which ends with a slash."""
    facts = ServerFacts("1.2.3", datetime.now(timezone.utc), cores=2, devices="auto")

    async def open_port() -> tuple[HttpServer, Address]:
        page = StatusPage(server.core, facts, max_bytes=MAX_BYTES, takes_images=takes_images)
        opened = HttpServer([page])
        return opened, await opened.start(Address(host, 0))

    opened, address = server.call(open_port())
    try:
        yield f"http://{address}/"
    finally:
        server.call(opened.stop())
