"""A client's call as a span, in programs that use OpenTelemetry."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Self

from service_kit import errors, status
from service_kit.telemetry.span_writing import LONGEST_WORDS, fail, harmless

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Metadata = tuple[tuple[str, str], ...]


class ClientSpan:
    """One call with all its tries; a context manager that ends it.

    It does not become the current span: generators would leave it behind in their caller. A program
    whose OpenTelemetry fails has its answers all the same.
    """

    def __init__(self, span: Span | None) -> None:
        """Without a span it does nothing."""
        self._span = span
        self.metadata: Metadata = _metadata_of(span) if span else ()

    def failed(self, error: errors.PbserveError) -> None:
        """Notes a try that has failed, after which there may be another."""
        if self._span:
            with harmless():
                words = str(error)[:LONGEST_WORDS]
                self._span.add_event("try_failed", {"error.type": error.reason, "message": words})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._span:
            with harmless():
                _end(self._span, error)


NO_SPAN = ClientSpan(None)


def client_span(service: str, rpc: str) -> ClientSpan:
    """Begins the span of a call, below the caller's current one.

    Programs that have not imported OpenTelemetry have no spans, and pay nothing.

    Args:
        service: full name.
        rpc: name in the service.
    """
    if "opentelemetry.trace" not in sys.modules:
        return NO_SPAN
    with harmless():
        from opentelemetry import trace

        name = f"{service}/{rpc}"
        span = trace.get_tracer("pbserve").start_span(
            name,
            kind=trace.SpanKind.CLIENT,
            attributes={"rpc.system.name": "grpc", "rpc.method": name},
        )
        return ClientSpan(span)
    return NO_SPAN


def _metadata_of(span: Span) -> Metadata:
    from opentelemetry import propagate, trace

    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    # The keys of HTTP/2 are lower case.
    return tuple((key.lower(), value) for key, value in carrier.items())


def _end(span: Span, error: BaseException | None) -> None:
    if error is None or isinstance(error, GeneratorExit):
        # Who closes a stream early wants no more of it.
        span.set_attribute("rpc.response.status_code", "OK" if error is None else "CANCELLED")
    else:
        if isinstance(error, errors.PbserveError):
            span.set_attribute("rpc.response.status_code", status.code_of(error).name)
        fail(span, errors.reason_of(error), str(error))
    span.end()
