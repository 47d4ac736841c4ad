"""`/metrics`: what a server counts, in the formats that Prometheus reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import (
    CONTENT_TYPE_PLAIN_0_0_4,
    choose_encoder,
    generate_latest,
)

from service_kit import __version__
from service_kit.telemetry.metric import Measured, MetricName

METRICS_PATH = "/metrics"


class MetricsPage:
    """Shows what the parts of one server count. Belongs to the event loop."""

    def __init__(
        self, prefix: str, parts: Sequence[Measured], *, ready: Callable[[], bool]
    ) -> None:
        """Shows `parts`, the process itself, and whether the server is ready.

        Args:
            prefix: of the names of what every server has: `pbserve`.
            parts: are asked at each scrape, on the event loop.
            ready: whether requests may come.
        """
        # Of its own: two servers in one process count apart.
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._parts = parts
        self._ready = ready
        self._ready_name = MetricName(
            f"{prefix}_ready", "gauge", (), "1 while the server's health says SERVING, else 0."
        )
        self._build_name = MetricName(
            f"{prefix}_build_info", "gauge", ("release",), "Always 1; the label has the release."
        )

    def add_to(self, application: web.Application) -> None:
        """See `service_kit.http.http_server.Pages`."""
        application.router.add_get(METRICS_PATH, self._scrape)

    def collect(self) -> list[Metric]:
        """Returns every metric as of now."""
        families = [
            self._ready_name.family([((), float(self._ready()))]),
            self._build_name.family([((__version__,), 1.0)]),
        ]
        for part in self._parts:
            families += part.collect()
        return [*families, *self._registry.collect()]

    async def _scrape(self, request: web.Request) -> web.Response:
        # Collected here, where everything stands still; written elsewhere, because a thousand
        # lines take milliseconds.
        moment = _Moment(self.collect())
        encode, content_type = _encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        body = await asyncio.to_thread(encode, moment)
        response = web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
        response.enable_compression()
        return response


class _Moment:
    """Metrics as they were, for the library's encoders."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


_Encoder = Callable[[_Moment], bytes]


def _encoder(accept: str) -> tuple[_Encoder, str]:
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        # The library compares a version that is no number: the oldest format is everybody's.
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
