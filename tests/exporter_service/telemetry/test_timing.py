from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from exporter_service.specs.progress import Progress, Step
from exporter_service.telemetry.metrics import ConversionMetrics
from exporter_service.telemetry.timing import ConversionWatch, FinishedConversion, StepTime
from service_kit import errors
from tests.support.metrics import Scrape, matchers, queried


def told(metrics: ConversionMetrics) -> Scrape:
    registry = CollectorRegistry()
    registry.register(metrics)
    return Scrape(generate_latest(registry).decode())


class Bench:
    """A watch whose clock a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ended: list[FinishedConversion] = []
        self.told: list[Step] = []
        self.metrics = ConversionMetrics()
        self.watch = ConversionWatch([self.ended.append, self.metrics], clock=lambda: self.now)
        self.metrics.running = lambda: self.watch.running

    def convert(self, *steps: tuple[Step, float], ends: BaseException | None = None) -> None:
        with self.watch.over("convert", "m", lambda progress: self.told.append(progress.step)) as r:
            for step, seconds in steps:
                r(Progress(step))
                self.now += seconds
            if ends:
                raise ends


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_steps_last_until_the_next_begins(bench: Bench) -> None:
    bench.convert((Step.START, 2.0), (Step.READ, 0.5), (Step.PUBLISH, 1.0))
    assert bench.told == [Step.START, Step.READ, Step.PUBLISH]
    (ended,) = bench.ended
    assert (ended.kind, ended.model, ended.result, ended.seconds) == ("convert", "m", "OK", 3.5)
    assert ended.steps == [
        StepTime(Step.START, 0.0, 2.0, "OK"),
        StepTime(Step.READ, 2.0, 0.5, "OK"),
        StepTime(Step.PUBLISH, 2.5, 1.0, "OK"),
    ]


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (errors.CheckpointCorrupt("x"), "CHECKPOINT_CORRUPT"),
        (asyncio.CancelledError(), "CANCELLED"),
        (KeyError("defect"), "INTERNAL_ERROR"),
    ],
)
def test_the_last_step_is_the_one_that_failed(
    bench: Bench, error: BaseException, result: str
) -> None:
    with pytest.raises(type(error)):
        bench.convert((Step.START, 1.0), (Step.READ, 1.0), ends=error)
    (ended,) = bench.ended
    assert ended.result == result
    assert [(one.step, one.result) for one in ended.steps] == [
        (Step.START, "OK"), (Step.READ, result),
    ]  # fmt: skip
    assert bench.watch.running == 0


def test_what_is_refused_before_its_first_step_counts_as_well(bench: Bench) -> None:
    with pytest.raises(errors.OutsideRoots):
        bench.convert(ends=errors.OutsideRoots("x"))
    assert bench.ended[0].steps == []


def test_metrics_count_conversions_and_steps_by_result(bench: Bench) -> None:
    bench.convert((Step.READ, 0.2), (Step.FORMAT, 3.0), (Step.FORMAT, 4.0))
    with pytest.raises(errors.ParityFailed):
        bench.convert((Step.READ, 0.2), (Step.CHECK, 1.0), ends=errors.ParityFailed("x"))
    with bench.watch.over("adopt", "m", lambda _: None):
        found = told(bench.metrics)
    assert found.value("pbexport_conversions_total", kind="convert", result="OK") == 1
    assert found.value("pbexport_conversions_total", kind="convert", result="PARITY_FAILED") == 1
    assert found.value("pbexport_conversion_steps_total", step="READ", result="OK") == 2
    assert found.value("pbexport_conversion_steps_total", step="FORMAT", result="OK") == 2
    assert found.value("pbexport_conversion_steps_total", step="CHECK", result="PARITY_FAILED") == 1
    assert found.value("pbexport_conversion_step_seconds_sum", step="FORMAT") == 7
    assert found.value("pbexport_conversions_running") == 1
    assert found.value("pbexport_conversion_seconds_count", kind="convert") == 2


def test_what_rules_and_panels_ask_for_is_there_before_the_first_conversion() -> None:
    """`increase` overlooks a series' first value: it has to be there before the first crash."""
    found = told(ConversionMetrics())
    names = queried("pbexport")
    assert "pbexport_conversions_total" in names
    assert [name for name in sorted(names) if not found.samples(name)] == []
    for name, label, values in matchers("pbexport"):
        for value in values:
            assert found.samples(name, **{label: value}), (name, value)
