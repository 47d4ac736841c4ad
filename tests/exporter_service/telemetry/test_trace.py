from __future__ import annotations

import pytest
from opentelemetry import trace

from exporter_service.specs.progress import Progress, Step
from exporter_service.telemetry.timing import ConversionWatch
from exporter_service.telemetry.trace import ConversionTraces
from service_kit import errors
from tests.support.spans import Spans, attributes, is_below, nanoseconds

SECOND = 10**9


class Bench:
    """A watch whose clock and calendar a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.spans = Spans()
        traces = ConversionTraces(self.spans.tracer, calendar=lambda: self.now + 1000.0)
        self.watch = ConversionWatch([traces], clock=lambda: self.now)

    def convert(self, ends: BaseException | None = None) -> None:
        with self.watch.over("convert", "m", lambda _: None) as report:
            for step in (Step.QUEUED, Step.READ, Step.BUILD):
                report(Progress(step))
                self.now += 2.0
            if ends:
                raise ends


def test_a_conversion_has_its_steps_below_it_and_is_below_its_call() -> None:
    bench = Bench()
    with bench.spans.tracer.start_as_current_span("call"):
        bench.convert()
    conversion = bench.spans.one("convert")
    assert is_below(conversion, bench.spans.one("call"))
    assert attributes(conversion) == {"pbserve.model": "m"}
    assert nanoseconds(conversion) == (1100 * SECOND, 1106 * SECOND)
    for name, began in (("queued", 1100), ("read", 1102), ("build", 1104)):
        step = bench.spans.one(name)
        assert is_below(step, conversion)
        assert nanoseconds(step) == (began * SECOND, (began + 2) * SECOND)
        assert step.status.status_code is trace.StatusCode.UNSET


def test_a_long_name_is_cut() -> None:
    bench = Bench()
    with bench.watch.over("convert", "m" * 1_000_000, lambda _: None):
        pass
    assert len(str(attributes(bench.spans.one("convert"))["pbserve.model"])) == 2000


def test_the_step_that_failed_says_so_with_the_reason() -> None:
    bench = Bench()
    with pytest.raises(errors.CheckpointMismatch):
        bench.convert(errors.CheckpointMismatch("x"))
    for name in ("build", "convert"):
        span = bench.spans.one(name)
        assert span.status.status_code is trace.StatusCode.ERROR
        assert attributes(span)["error.type"] == "CHECKPOINT_MISMATCH"
    assert bench.spans.one("read").status.status_code is trace.StatusCode.UNSET
