"""Spans of this process, kept in memory."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler


class Spans:
    """Where a test has spans written, and reads them."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        """In the order of their ends."""
        return self._exporter.get_finished_spans()

    def one(self, name: str) -> ReadableSpan:
        """Returns the only span of a name."""
        (found,) = self.all(name)
        return found

    def all(self, name: str) -> list[ReadableSpan]:
        """Returns the spans of a name."""
        return [span for span in self.ended if span.name == name]

    def are_the_programs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Makes them those of the program, as a user's set-up does, until the test ends."""
        monkeypatch.setattr(trace, "get_tracer", self.provider.get_tracer)


def attributes(span: ReadableSpan) -> dict[str, object]:
    """Returns a span's attributes."""
    return dict(span.attributes or {})


def is_below(span: ReadableSpan, above: ReadableSpan) -> bool:
    """Whether `above` is the parent of `span`."""
    return span.parent is not None and span.parent.span_id == above.context.span_id


def links(span: ReadableSpan) -> set[int]:
    """Returns the ids of the spans that it has links to."""
    return {link.context.span_id for link in span.links}


def nanoseconds(span: ReadableSpan) -> tuple[int, int]:
    """Returns when it began and ended, since 1970."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time
