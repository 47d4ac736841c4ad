from __future__ import annotations

import pytest

from inference_service.cli.bench.tally import Span, Tally
from inference_service.client.results import Prediction


def prediction(card: int = 0, version: int = 1, batch_size: int = 4) -> Prediction:
    return Prediction({}, "m", version, card, (card,), batch_size, 0.002, 0.006)


def test_only_what_is_due_in_the_span_is_measured() -> None:
    tally = Tally(Span(10.0, 20.0))
    tally.answered(9.9, 10.5, 2, prediction())
    tally.answered(10.0, 10.1, 2, prediction())
    tally.answered(19.9, 21.9, 2, prediction(card=1, version=2, batch_size=8))
    tally.answered(20.0, 20.1, 2, prediction())
    tally.failed(9.0, "QUEUE_FULL")
    tally.failed(15.0, "QUEUE_FULL")
    totals = tally.totals()
    assert (totals.requests, totals.images) == (2, 4)
    # What came within the span, whenever it went.
    assert totals.images_in_span == 4
    assert totals.errors == {"QUEUE_FULL": 1}
    assert totals.latency is not None
    assert totals.latency.max == pytest.approx(2000, rel=2e-3)
    assert (totals.cards, totals.versions) == ({0: 1, 1: 1}, {1: 1, 2: 1})
    assert totals.mean_queue_ms == pytest.approx(2)
    assert totals.mean_compute_ms == pytest.approx(6)
    assert totals.mean_batch_size == pytest.approx(6)


def test_an_interval_begins_where_the_one_before_ended() -> None:
    tally = Tally(Span(0.0, 10.0))
    tally.answered(1.0, 1.5, 3, prediction())
    tally.failed(1.0, "ENGINE_FAILED")
    first, second = tally.interval(), tally.interval()
    assert (first.images, first.errors) == (3, 1)
    assert first.latency is not None
    assert (second.images, second.errors, second.latency) == (0, 0, None)


def test_nothing_measured_is_not_a_division_by_zero() -> None:
    totals = Tally(Span(0.0, 1.0)).totals()
    assert (totals.requests, totals.latency, totals.mean_batch_size) == (0, None, 0.0)


def test_goodput_is_what_came_before_its_deadline() -> None:
    tally = Tally(Span(10.0, 20.0), deadline=0.5)
    tally.answered(9.8, 10.2, 2, prediction())
    tally.answered(11.0, 11.5, 3, prediction())
    tally.answered(11.0, 11.6, 5, prediction())
    tally.answered(19.8, 20.1, 7, prediction())
    assert tally.totals().images_in_span == 10
    assert tally.totals().images_in_time == 5


def test_without_deadlines_everything_is_in_time() -> None:
    tally = Tally(Span(10.0, 20.0))
    tally.answered(0.0, 19.0, 2, prediction())
    assert tally.totals().images_in_time == 2
