from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from inference_service.cards.card import Card
from inference_service.cards.card_spec import CardLimits
from inference_service.loading.store_watch import Problems
from inference_service.models.servable import Servable
from inference_service.models.status import ModelStatus, State, VersionStatus
from inference_service.status_page.artifact_report import parity
from inference_service.status_page.rates import CardRates, Rate
from inference_service.status_page.rendering import as_json
from inference_service.status_page.report import (
    Problem,
    ServerFacts,
    StatusReport,
    status_report,
)
from service_kit import errors
from service_kit.artifacts.manifest import ParityComparison, ParityReport
from tests.support.cards import submit
from tests.support.engines import MeanEngine, pixels
from tests.support.servables import mean_servable

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
FACTS = ServerFacts("1.2.3", NOW - timedelta(minutes=5), cores=8, devices="cpu:2")


def report(
    *statuses: ModelStatus,
    problems: Problems = Problems("", ""),  # noqa: B008 - immutable
    rates: Mapping[Card, CardRates] | None = None,
) -> StatusReport:
    return status_report(FACTS, statuses, problems, rates or {}, ready=True, at=NOW)


def model(
    *versions: VersionStatus, default: int = 1, labels: Mapping[str, int] | None = None
) -> ModelStatus:
    return ModelStatus("m", default, versions, labels or {})


def available(servable: Servable) -> VersionStatus:
    return VersionStatus(servable.version, State.AVAILABLE, None, servable, leases=2)


def test_the_server_says_what_it_is_and_since_when() -> None:
    server = report().server
    assert (server.version, server.cores, server.devices) == ("1.2.3", 8, "cpu:2")
    assert (server.uptime_seconds, server.ready, server.devices_in_use) == (300, True, ())


def test_a_version_has_its_state_labels_cards_and_artifact() -> None:
    servable = mean_servable(cards=2, limits=CardLimits(4, queue_images=7, queue_bytes=99))
    submit(servable.cards[1], {"input": pixels(1, 2)}).result(10)
    rates = {servable.cards[1]: CardRates(Rate(12.5, 0.25), (0.0, 12.5))}
    labels = {"stable": 1, "next": 2}
    made = report(model(available(servable), labels=labels), rates=rates)
    (version,) = made.versions
    assert (version.state, version.is_default, version.labels) == ("AVAILABLE", True, ("stable",))
    assert (version.leases, version.load_seconds) == (2, 1.5)
    idle, busy = version.cards
    assert (idle.index, idle.device, idle.images_per_second, idle.history) == (0, "cpu:0", 0, ())
    assert (busy.images_per_second, busy.busy, busy.answered_images) == (12.5, 0.25, 2)
    assert (busy.queue_images, busy.queue_bytes, busy.batch_limit) == (7, 99, 4)
    assert [(one.batch_size, one.images_per_second) for one in busy.timings] == [(1, 2.0)]
    assert (version.images_per_second, version.answered_images) == (12.5, 2)
    assert made.server.devices_in_use == ("cpu:0", "cpu:1")
    artifact = version.artifact
    assert artifact is not None
    assert (artifact.checkpoint, artifact.checkpoint_step) == ("/c/model.ckpt-300", 300)
    assert (artifact.architecture, artifact.towers) == ("densenet", 2)
    assert artifact.parity.state == "PASSED"
    assert made.problems == ()
    servable.close()


def test_everything_that_went_wrong_is_told_with_its_place() -> None:
    engine = MeanEngine()
    servable = mean_servable(engine, cards=2)
    engine.broken_cards = {0}
    for card in (0, 0, 0):
        with pytest.raises(errors.PbserveError):
            _ask(servable, card, 1.0)
    with pytest.raises(errors.EngineFailed):
        _ask(servable, 1, MeanEngine.poison)
    _ask(servable, 1, 1.0)
    no_probs = errors.EngineFailed("the graph has no tensor probs:0")
    failed = VersionStatus(2, State.FAILED, no_probs, retry_in=3.0)
    other = errors.EngineFailed("the store has another graph under this number")
    beside = replace(available(servable), error=other)
    problems = Problems("line 3: no", "the store is gone", store_mark="no mark")
    assert report(model(beside, failed), problems=problems).problems == (
        Problem("store", "the store is gone", grave=False),
        Problem("store", "no mark", grave=False),
        Problem("models file", "line 3: no", grave=False),
        Problem("m version 1", "the store has another graph under this number", grave=False),
        Problem(
            "m version 1, card 0",
            "out of order, and probed until it works: the device is gone",
            grave=True,
        ),
        Problem("m version 1, card 1", "works again; its last error was: poisoned", grave=False),
        Problem("m version 2", "the graph has no tensor probs:0", grave=True),
    )
    servable.close()


def _ask(servable: Servable, card: int, value: float) -> None:
    submit(servable.cards[card], {"input": pixels(value)}).result(10)


def comparison(difference: float) -> ParityComparison:
    return ParityComparison("frozen with session", "ones", difference, difference, 1e-5)


@pytest.mark.parametrize(
    ("differences", "state"),
    [([], "NONE"), ([1e-7, 1e-6], "PASSED"), ([1e-7, 1e-3], "FAILED"), ([float("nan")], "FAILED")],
)
def test_parity_has_passed_only_if_something_was_compared(
    differences: list[float], state: str
) -> None:
    made = parity(ParityReport(tuple(map(comparison, differences)), 1e-5, ("onnx: left out",)))
    assert made.state == state
    assert [one.passed for one in made.comparisons] == [d <= 1e-5 for d in differences]
    assert made.not_compared == ("onnx: left out",)


def test_the_json_twin_has_what_the_page_has_and_is_json() -> None:
    servable = mean_servable()
    manifest = replace(servable.manifest, parity=ParityReport((comparison(float("inf")),), 1e-5))
    servable.manifest = manifest
    made = json.loads(as_json(report(model(available(servable)))), parse_constant=pytest.fail)
    (version,) = made["models"][0]["versions"]
    assert version["artifact"]["parity"]["comparisons"][0]["max_absolute_difference"] == "Infinity"
    assert version["cards"][0]["timings"] == [
        {"batch_size": 1, "seconds": 0.5, "images_per_second": 2.0}
    ]
    assert made["server"]["started_at"] == "2026-03-04T05:01:07+00:00"
    servable.close()
