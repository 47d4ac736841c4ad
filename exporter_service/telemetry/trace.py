"""Conversions and their steps as spans."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry import trace

from exporter_service.telemetry.timing import OK, FinishedConversion
from service_kit.telemetry.span_writing import LONGEST_WORDS, fail, harmless, nanoseconds

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


class ConversionTraces:
    """Is told of conversions at their end, in their own context: below the call that began them."""

    def __init__(self, tracer: Tracer, *, calendar: Callable[[], float] = time.time) -> None:
        """Writes to `tracer`; `calendar` are seconds since 1970."""
        self._tracer = tracer
        self._calendar = calendar

    def __call__(self, finished: FinishedConversion) -> None:
        """Writes a conversion, and its steps below it."""
        with harmless():
            self._write(finished)

    def _write(self, finished: FinishedConversion) -> None:
        began = self._calendar() - finished.seconds
        span = self._begin(finished.kind, began, None)
        span.set_attribute("pbserve.model", finished.model[:LONGEST_WORDS])
        for step in finished.steps:
            starts = began + step.began
            below = self._begin(step.step.name.lower(), starts, span)
            self._end(below, starts + step.seconds, step.result)
        self._end(span, began + finished.seconds, finished.result)

    def _begin(self, name: str, seconds: float, above: Span | None) -> Span:
        return self._tracer.start_span(
            name,
            context=trace.set_span_in_context(above) if above else None,
            start_time=nanoseconds(seconds),
        )

    def _end(self, span: Span, seconds: float, result: str) -> None:
        if result != OK:
            fail(span, result)
        span.end(nanoseconds(seconds))
