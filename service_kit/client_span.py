"""A client's call as a span, in programs that use OpenTelemetry."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import Self

from service_kit import errors, status

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Item = TypeVar("Item")
Metadata = tuple[tuple[str, str], ...]


class ClientSpan:
    """One call with all its tries; a context manager that ends it.

    It does not become the current span: generators would leave it behind in their caller.
    """

    def __init__(self, span: Span | None) -> None:
        """Without a span it does nothing."""
        self._span = span
        self.metadata: Metadata = _metadata_of(span) if span else ()

    def failed(self, error: errors.PbserveError) -> None:
        """Notes a try that has failed, after which there may be another."""
        if self._span:
            self._span.add_event("try_failed", {"error.type": error.reason, "message": str(error)})

    def over(self, answers: Generator[Item, None, None]) -> Generator[Item, None, None]:
        """Returns the same answers, with whose end the span ends."""
        return self._over(answers) if self._span else answers

    def over_async(self, answers: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
        """As `over`."""
        return self._over_async(answers) if self._span else answers

    def _over(self, answers: Generator[Item, None, None]) -> Generator[Item, None, None]:
        with self:
            yield from answers

    async def _over_async(self, answers: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
        with self:
            async with aclosing(answers) as closing:
                async for answer in closing:
                    yield answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._span:
            _end(self._span, error)


_NONE = ClientSpan(None)


def client_span(service: str, rpc: str) -> ClientSpan:
    """Begins the span of a call, below the caller's current one.

    Programs that have not imported OpenTelemetry have no spans, and pay nothing.

    Args:
        service: full name.
        rpc: name in the service.
    """
    if "opentelemetry.trace" not in sys.modules:
        return _NONE
    from opentelemetry import trace

    name = f"{service}/{rpc}"
    return ClientSpan(
        trace.get_tracer("pbserve").start_span(
            name,
            kind=trace.SpanKind.CLIENT,
            attributes={"rpc.system.name": "grpc", "rpc.method": name},
        )
    )


def _metadata_of(span: Span) -> Metadata:
    from opentelemetry import propagate, trace

    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    # The keys of HTTP/2 are lower case.
    return tuple((key.lower(), value) for key, value in carrier.items())


def _end(span: Span, error: BaseException | None) -> None:
    from opentelemetry.trace import StatusCode

    if isinstance(error, errors.PbserveError):
        code = status.code_of(error).name
        span.set_attribute("rpc.response.status_code", code)
        span.set_attribute("error.type", error.reason)
        span.set_status(StatusCode.ERROR, str(error))
    elif error is None or isinstance(error, GeneratorExit):
        # Who closes a stream early wants no more of it.
        span.set_attribute("rpc.response.status_code", "OK" if error is None else "CANCELLED")
    else:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(StatusCode.ERROR, str(error))
    span.end()
