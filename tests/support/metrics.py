"""What servers count, read as a scraper reads it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from inference_service.settings import InferenceSettings
from inference_service.status_page.port import HttpPort
from service_kit.address import Address
from service_kit.server.serving_settings import Listening, Serving
from tests.support.http_calls import call
from tests.support.inference_server import InferenceServer

LOOPBACK = Address("127.0.0.1", 0)
_OBSERVABILITY = Path(__file__).resolve().parents[2] / "deploy" / "observability"


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: Mapping[str, Metric] = {
            family.name + ("_total" if family.type == "counter" else ""): family
            for family in text_string_to_metric_families(text)
        }

    def value(self, sample: str, **labels: str) -> float:
        """Returns the only sample with these labels, and perhaps others; 0: there is none."""
        found = self.samples(sample, **labels)
        assert len(found) <= 1, found
        return next(iter(found.values()), 0.0)

    def samples(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Returns all samples with these labels, and perhaps others."""
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }


def queried(prefix: str) -> set[str]:
    """Returns the series, named `prefix` and on, that rules, alerts and panels ask for."""
    found: set[str] = set()
    for name in ("rules.yml", "alerts.yml", "dashboard.json"):
        # What rules record is named `level:metric:operation`.
        text = re.sub(r"\w+:pbserve_\w+:\w+", "", (_OBSERVABILITY / name).read_text())
        found |= set(re.findall(rf"\b{prefix}_\w+", text))
    return found


def matchers(prefix: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yields (series, label, values) for each choice of several values that a rule makes."""
    for name in ("rules.yml", "alerts.yml"):
        text = (_OBSERVABILITY / name).read_text()
        for series, labels in re.findall(rf"({prefix}_\w+)\{{(.*?)\}}", text):
            for label, values in re.findall(r'(\w+)=~"([^"]+)"', labels):
                yield series, label, values.split("|")


def scrape(url: str) -> Scrape:
    """Asks a metrics port; `url` ends with a slash."""
    reply = call(url, path="metrics")
    assert reply.status == 200
    return Scrape(reply.text)


@contextlib.contextmanager
def metrics_port(server: InferenceServer, **settings: Any) -> Iterator[str]:
    """Opens the second port of a server, without the status page; yields its URL."""
    told = InferenceSettings(
        serving=Serving(Listening(LOOPBACK), LOOPBACK),
        store="unused",
        **{"status_page": False, **settings},
    )
    addresses: list[Address] = []

    class Port(HttpPort):
        def announce(self, program: str, what: str, path: str = "/") -> None:
            assert self._address
            addresses.append(self._address)

    async def open_port() -> HttpPort:
        page = server.metrics.page(server.core, server.counts)
        port = Port(told, server.core, cores=2, others=[page])
        await port.start()
        port.announce_pages()
        return port

    port = server.call(open_port())
    try:
        yield f"http://{addresses[0]}/"
    finally:
        server.call(port.stop())
