"""A server's calls as spans, in the traces of those who call."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from service_kit.auth.roles import ALWAYS_OPEN
from service_kit.telemetry.current_call import current_call
from service_kit.telemetry.span_writing import fail, harmless

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

# Codes that are the server's doing, by OpenTelemetry's semantic conventions for gRPC. The others
# are answers to what the caller has asked.
_FAILURES = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class CallSpan:
    """The span of a call that runs."""

    def __init__(self, span: Span) -> None:
        """Belongs to the call, which ends it."""
        self._span = span

    def end(self, code: grpc.StatusCode) -> None:
        """Ends it as the call has ended."""
        with harmless():
            self._span.set_attribute("rpc.response.status_code", code.name)
            if code in _FAILURES:
                fail(self._span, code.name)
            self._span.end()


class CallSpans:
    """Begins the spans of a server's calls."""

    def __init__(self, tracer: Tracer, open_to_all: Collection[str] = tuple(ALWAYS_OPEN)) -> None:
        """Writes to `tracer`.

        Args:
            tracer: of the service.
            open_to_all: methods that anybody may call, and could fill the traces with.
        """
        self._tracer = tracer
        self._open_to_all = frozenset(open_to_all)

    def begin(self, method: str, metadata: Sequence[Any]) -> CallSpan | None:
        """Begins a span and makes it the current one; None for calls that are not traced.

        Lines of the log have the trace's id from now on, if it is recorded.

        Args:
            method: full name, with its leading slash.
            metadata: of the call; may name the caller's span.
        """
        if method not in self._open_to_all:
            with harmless():
                return self._start_span(method.removeprefix("/"), metadata)
        return None

    def _start_span(self, name: str, metadata: Sequence[Any]) -> CallSpan:
        from opentelemetry import context, propagate, trace

        # Binary values are nobody's trace.
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        span = self._tracer.start_span(
            name,
            context=propagate.extract(carrier),
            kind=trace.SpanKind.SERVER,
            attributes={"rpc.system.name": "grpc", "rpc.method": name},
        )
        # For as long as the call's task lives.
        context.attach(trace.set_span_in_context(span))
        if span.is_recording():
            trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            current_call.get().trace = trace_id
        return CallSpan(span)
