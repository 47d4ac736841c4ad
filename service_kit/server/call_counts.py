"""Counts of the calls of a port, by method and code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import grpc
from prometheus_client.core import Metric

from service_kit.server.served_call import FinishedCall
from service_kit.telemetry.histogram import SECONDS, Histogram
from service_kit.telemetry.metric import MetricName

# Of what is in no table: nobody can make labels by calling names.
OTHER = "other"
# Once: an enumeration's names are computed.
_NAMES = {code: code.name for code in grpc.StatusCode}


class CallCounts:
    """Is told of calls at their end. Belongs to the event loop."""

    def __init__(self, prefix: str, methods: Collection[str]) -> None:
        """Counts calls of `methods` (full names) one by one, and all others together.

        Args:
            prefix: of the metrics' names: `pbserve`.
            methods: `/package.Service/Method`.
        """
        self._methods = frozenset(methods)
        # Each method has its series from the start on: a panel shows 0, not nothing.
        self._ended: Counter[tuple[str, str]] = Counter(
            {(method, grpc.StatusCode.OK.name): 0 for method in sorted(self._methods)}
        )
        self._seconds: dict[str, Histogram] = {}
        self._calls = MetricName(
            f"{prefix}_calls_total",
            "counter",
            ("service", "method", "code"),
            "Calls that have ended, by their gRPC code; a stream is one call.",
        )
        self._call_seconds = MetricName(
            f"{prefix}_call_seconds",
            "histogram",
            ("service", "method"),
            "Seconds from a call's admission to its end; of a stream, to the end of the stream.",
        )

    def __call__(self, call: FinishedCall) -> None:
        """Counts a call."""
        method = call.method if call.method in self._methods else OTHER
        self._ended[method, _NAMES[call.code]] += 1
        seconds = self._seconds.get(method)
        if seconds is None:
            seconds = self._seconds[method] = Histogram(SECONDS)
        seconds.add(call.seconds)

    def collect(self) -> Iterator[Metric]:
        """See `Measured`."""
        yield self._calls.family(
            ((*_names(method), code), count) for (method, code), count in self._ended.items()
        )
        yield self._call_seconds.family(
            (_names(method), seconds) for method, seconds in self._seconds.items()
        )


def _names(method: str) -> tuple[str, str]:
    service, _, name = method.removeprefix("/").rpartition("/")
    return service or OTHER, name
