from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from prometheus_client.core import Metric

from service_kit import __version__
from service_kit.address import Address
from service_kit.http.http_server import HttpServer
from service_kit.http.metrics_page import MetricsPage
from service_kit.telemetry.metric import MetricName
from tests.support.metrics import Scrape

TEXTS = MetricName("x_texts", "gauge", ("text",), "Texts.")
HOSTILE = 'a"} 1\nevil 2\\'


class Texts:
    def __init__(self) -> None:
        self.broken = False

    def collect(self) -> Iterator[Metric]:
        if self.broken:
            raise RuntimeError("secret")
        yield TEXTS.family((((HOSTILE,), 3.0), (("plain" * 500,), 4.0)))


TEXT = Texts()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    TEXT.broken = False
    server = HttpServer([MetricsPage("x", [TEXT], ready=lambda: True)])
    address = await server.start(Address("127.0.0.1", 0))
    yield f"http://{address}/metrics"
    await server.stop()


async def fetch(url: str, **headers: str) -> tuple[int, str, bytes]:
    headers = {"Accept-Encoding": "identity"} | headers
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(url, headers=headers) as response,
    ):
        return response.status, response.headers["Content-Type"], await response.read()


async def test_has_what_its_parts_count_and_the_process(url: str) -> None:
    status, content_type, body = await fetch(url)
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found = Scrape(body.decode())
    assert found.value("x_texts", text=HOSTILE) == 3
    assert "evil" not in found.families
    assert found.value("x_ready") == 1
    assert found.value("x_build_info", release=__version__) == 1
    assert found.value("process_resident_memory_bytes") > 2**20


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("image/png", "text/plain; version=0.0.4"),
        # What breaks the library's comparison of versions.
        ("application/openmetrics-text; version=banana", "text/plain; version=0.0.4"),
        ("text/plain; version=..", "text/plain; version=0.0.4"),
        (";;;=,,,", "text/plain; version=0.0.4"),
    ],
)
async def test_answers_in_the_format_that_is_asked_for(
    url: str, accept: str, answered: str
) -> None:
    status, content_type, body = await fetch(url, Accept=accept)
    assert status == 200
    assert content_type.startswith(answered)
    assert body.endswith(b"# EOF\n") == ("openmetrics" in answered)


async def test_compresses_for_who_takes_that(url: str) -> None:
    plain, packed = (await fetch(url))[2], (await fetch(url, **{"Accept-Encoding": "gzip"}))[2]
    assert len(packed) < len(plain) / 2
    assert b"x_texts" in gzip.decompress(packed)


async def test_a_defect_costs_the_scrape_alone(url: str) -> None:
    TEXT.broken = True
    status, _, body = await fetch(url)
    assert status == 500
    assert b"secret" not in body
    TEXT.broken = False
    assert (await fetch(url))[0] == 200
