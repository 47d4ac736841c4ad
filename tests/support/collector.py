"""A collector of traces: what an OTLP exporter sends, it keeps."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

WAIT = 30.0


@dataclass(frozen=True)
class Span:
    """A span as it came over the wire; ids are bytes, times nanoseconds since 1970."""

    service: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    began: int
    ended: int
    links: tuple[bytes, ...]
    attributes: dict[str, Any] = field(hash=False)
    is_error: bool = False
    words: str = ""
    events: tuple[str, ...] = ()


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span, and the metadata of the last call."""

    def __init__(self) -> None:
        self.address = ""
        self.metadata: dict[str, Any] = {}
        self.spans: list[Span] = []
        self._changed = threading.Condition()

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        with self._changed:
            self.metadata = dict(context.invocation_metadata())
            self.spans += _spans(request)
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def environment(self) -> dict[str, str]:
        """What has a program send its spans here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.address}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def wait_for(self, holds: Callable[[list[Span]], bool]) -> list[Span]:
        """Returns the spans once something holds of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.spans), WAIT), sorted(
                (one.service, one.name) for one in self.spans
            )
            return list(self.spans)


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Runs a collector on a free loopback port."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(collector, server)
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait(WAIT)


def _spans(request: Any) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        service = _attributes(of_resource.resource.attributes)["service.name"]
        for span in (span for scope in of_resource.scope_spans for span in scope.spans):
            yield Span(
                service,
                span.name,
                span.trace_id,
                span.span_id,
                span.parent_span_id,
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                tuple(link.span_id for link in span.links),
                _attributes(span.attributes),
                span.status.code == span.status.STATUS_CODE_ERROR,
                span.status.message,
                tuple(event.name for event in span.events),
            )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
