"""Requests, and the batches that they share, as spans."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Link

from inference_service.cards.batch_run import BatchRun, TracedPart
from inference_service.prediction.outcome import RequestOutcome
from service_kit import errors
from service_kit.telemetry.span_writing import fail, harmless, nanoseconds

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext, Tracer


class RequestTrace:
    """One request: its own span, and below it those of its waiting and its share of batches.

    A batch is a span of the first traced request in it, has links to the others, and they to it.
    """

    def __init__(self, span: Span, tracer: Tracer, moment: Callable[[float], int]) -> None:
        """Belongs to one request.

        Args:
            span: of the request.
            tracer: begins the others.
            moment: nanoseconds since 1970 of a time of the cards' clock.
        """
        self._span = span
        self._tracer = tracer
        self._moment = moment
        self._context = trace.set_span_in_context(span)
        # Card -> since when the request waits for it, of the card's clock.
        self._waits: dict[int, float] = {}

    @property
    def span_context(self) -> SpanContext:
        """What others link to."""
        return self._span.get_span_context()

    def queued(self, card: int, at: float) -> None:
        """See `BatchTrace`."""
        self._waits[card] = at

    def unqueued(self, card: int, at: float) -> None:
        """See `BatchTrace`."""
        with harmless():
            self._end_wait(card, at)

    def write(self, run: BatchRun, parts: Sequence[TracedPart]) -> None:
        """See `BatchTrace`."""
        with harmless():
            self._write_batch(run, parts)

    def _write_batch(self, run: BatchRun, parts: Sequence[TracedPart]) -> None:
        traced = [(part.trace, part) for part in parts if isinstance(part.trace, RequestTrace)]
        batch = self._tracer.start_span(
            "batch",
            context=self._context,
            links=[Link(one.span_context) for one, _ in traced if one is not self],
            attributes={
                "pbserve.card": run.card,
                "pbserve.batch.images": run.images,
                "pbserve.batch.size": run.size,
            },
            start_time=self._moment(run.began),
        )
        steps = (("stack", run.began), ("run", run.stacked), ("check", run.computed), ("", None))
        for (name, began), (_, ended) in itertools.pairwise(steps):
            if began is None:
                break
            self._write(name, began, run.ended if ended is None else ended, of=batch)
        if run.error_type:
            fail(batch, run.error_type, run.error)
        batch.end(self._moment(run.ended))
        for one, part in traced:
            one._join(run, part, batch.get_span_context())  # noqa: SLF001

    def _join(self, run: BatchRun, part: TracedPart, batch: SpanContext) -> None:
        self._end_wait(run.card, run.began)
        self._write(
            "compute", run.began, run.ended, card=run.card, images=part.images, links=[Link(batch)]
        )

    def _end_wait(self, card: int, at: float) -> None:
        # One whose batch fails is tried again alone, and has waited once.
        since = self._waits.pop(card, None)
        if since is not None:
            self._write("queue", since, at, card=card)

    def _write(
        self,
        name: str,
        began: float,
        ended: float,
        *,
        of: Span | None = None,
        links: Sequence[Link] = (),
        **attributes: int,
    ) -> None:
        self._tracer.start_span(
            name,
            context=trace.set_span_in_context(of) if of else self._context,
            links=links,
            attributes={f"pbserve.{key}": value for key, value in attributes.items()},
            start_time=self._moment(began),
        ).end(self._moment(ended))

    def end(self, outcome: RequestOutcome, at: float) -> None:
        """Ends the request's span as the request has ended, at a time of the cards' clock."""
        for card in tuple(self._waits):
            # In vain.
            self._end_wait(card, at)
        self._span.set_attribute("pbserve.images", outcome.images)
        if outcome.model:
            self._span.set_attribute("pbserve.model", outcome.model)
            self._span.set_attribute("pbserve.version", outcome.version)
        if outcome.card is not None:
            self._span.set_attribute("pbserve.card", outcome.card)
        if isinstance(outcome.error, asyncio.CancelledError):
            # By the caller, or by gRPC when the deadline had passed.
            fail(self._span, "DEADLINE_EXPIRED" if outcome.expired else "CANCELLED")
        elif outcome.error is not None:
            fail(self._span, errors.reason_of(outcome.error), str(outcome.error))
        self._span.end()


class RequestTraces:
    """Begins the traces of requests, and is told of their end. Belongs to the event loop."""

    def __init__(
        self,
        tracer: Tracer,
        *,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        """Writes to `tracer`.

        Args:
            tracer: of the service.
            clock: must be the cards' clock, in seconds.
            calendar: seconds since 1970.
        """
        self._tracer = tracer
        self._clock = clock
        self._calendar = calendar

    def begin(self) -> RequestTrace | None:
        """Begins the span of a request below that of its call; None: it is not to be recorded."""
        with harmless():
            span = self._tracer.start_span("predict")
            if span.is_recording():
                # Asked anew each time, since the calendar may be set.
                offset = self._calendar() - self._clock()
                return RequestTrace(
                    span, self._tracer, lambda seconds: nanoseconds(seconds + offset)
                )
        return None

    def __call__(self, outcome: RequestOutcome) -> None:
        """Ends the trace of a request, if it has one."""
        if isinstance(outcome.trace, RequestTrace):
            with harmless():
                outcome.trace.end(outcome, self._clock())
