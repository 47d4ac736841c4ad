"""Conversions and their steps, by result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from exporter_service.specs.progress import Step
from exporter_service.telemetry.timing import FinishedConversion
from service_kit.telemetry.histogram import LONG_SECONDS, Histogram
from service_kit.telemetry.metric import MetricName

_CONVERSIONS = MetricName(
    "pbexport_conversions_total",
    "counter",
    ("kind", "result"),
    "Conversions (convert, adopt) that have ended: OK, or the reason of the failure.",
)
_SECONDS = MetricName(
    "pbexport_conversion_seconds",
    "histogram",
    ("kind",),
    "Seconds that conversions took, however they ended; waiting for a process included.",
)
_STEPS = MetricName(
    "pbexport_conversion_steps_total",
    "counter",
    ("step", "result"),
    "Steps of conversions that have ended: OK, or the reason of the failure.",
)
_STEP_SECONDS = MetricName(
    "pbexport_conversion_step_seconds",
    "histogram",
    ("step",),
    "Seconds that steps took, however they ended.",
)
# Counted from the start on, even if 0: what rules and panels ask for.
_KINDS = ("convert", "adopt")
_RESULTS = (
    "OK",
    "CONVERSION_CRASHED",
    "CONVERSION_TIMED_OUT",
    "CONVERSION_TOO_LARGE",
    "INTERNAL_ERROR",
)
_RUNNING = MetricName(
    "pbexport_conversions_running", "gauge", (), "Conversions that run or wait for a process."
)


class ConversionMetrics:
    """Is told of conversions at their end. Belongs to the event loop.

    What a request says is in no label: kinds, steps and reasons are the program's own words.
    """

    def __init__(self) -> None:
        """Begins with nothing."""
        self._conversions: Counter[tuple[str, str]] = Counter(
            {(kind, result): 0 for kind in _KINDS for result in _RESULTS}
        )
        self._seconds: dict[str, Histogram] = {}
        self._steps: Counter[tuple[str, str]] = Counter()
        self._step_seconds = {step: Histogram(LONG_SECONDS) for step in Step}
        # Says how many run, once it is known who knows.
        self.running: Callable[[], int] = lambda: 0

    def __call__(self, finished: FinishedConversion) -> None:
        """Counts a conversion."""
        self._conversions[finished.kind, finished.result] += 1
        self._seconds.setdefault(finished.kind, Histogram(LONG_SECONDS)).add(finished.seconds)
        for one in finished.steps:
            self._steps[one.step.name, one.result] += 1
            self._step_seconds[one.step].add(one.seconds)

    def collect(self) -> Iterator[Metric]:
        """See `Measured`."""
        yield _CONVERSIONS.family(self._conversions.items())
        yield _SECONDS.family(((kind,), seconds) for kind, seconds in self._seconds.items())
        yield _STEPS.family(self._steps.items())
        yield _STEP_SECONDS.family(
            ((step.name,), seconds) for step, seconds in self._step_seconds.items()
        )
        yield _RUNNING.family([((), self.running())])
