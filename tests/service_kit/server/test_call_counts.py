from __future__ import annotations

import grpc
from prometheus_client import CollectorRegistry, generate_latest

from service_kit.server.call_counts import CallCounts
from service_kit.server.served_call import FinishedCall
from tests.support.metrics import Scrape


def told(counts: CallCounts) -> Scrape:
    registry = CollectorRegistry()
    registry.register(counts)
    return Scrape(generate_latest(registry).decode())


def ended(method: str, code: grpc.StatusCode = grpc.StatusCode.OK) -> FinishedCall:
    return FinishedCall(method, "anonymous", code, 0.3)


def test_calls_count_by_service_method_and_code() -> None:
    counts = CallCounts("x", {"/p.Service/Do"})
    for code in (grpc.StatusCode.OK, grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND):
        counts(ended("/p.Service/Do", code))
    found = told(counts)
    names = {"service": "p.Service", "method": "Do"}
    assert found.value("x_calls_total", **names, code="OK") == 2
    assert found.value("x_calls_total", **names, code="NOT_FOUND") == 1
    assert found.value("x_call_seconds_bucket", **names, le="0.25") == 0
    assert found.value("x_call_seconds_bucket", **names, le="0.5") == 3


def test_a_method_that_nobody_has_called_yet_has_a_count_of_none() -> None:
    assert list(told(CallCounts("x", {"/p.Service/Do"})).samples("x_calls_total").values()) == [0]


def test_methods_of_no_table_count_together() -> None:
    counts = CallCounts("x", {"/p.Service/Do"})
    for number in range(100):
        counts(ended(f'/p.Service/"}}\n{number}'))
    calls = told(counts).samples("x_calls_total", method="other")
    assert list(calls.values()) == [100]
    ((labels, _),) = calls.items()
    assert dict(labels) == {"service": "other", "method": "other", "code": "OK"}
