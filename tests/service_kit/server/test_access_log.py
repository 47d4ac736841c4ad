from __future__ import annotations

import grpc
import pytest
from structlog.testing import capture_logs

from service_kit.server.access_log import AccessLog
from service_kit.server.served_call import FinishedCall

OK = grpc.StatusCode.OK


def lines(log: AccessLog, *codes: grpc.StatusCode, method: str = "/p.S/Do") -> list[str]:
    with capture_logs() as written:
        for code in codes:
            log(FinishedCall(method, "anonymous", code, 0.25))
    return [line["code"] for line in written]


@pytest.mark.parametrize(("every", "logged"), [(1, 10), (3, 4), (10, 1), (0, 0)])
def test_one_of_so_many_is_logged_and_the_first_at_once(every: int, logged: int) -> None:
    log = AccessLog(every)
    assert len(lines(log, OK)) == (1 if every else 0)
    assert len(lines(log, *[OK] * 9)) == logged - (1 if every else 0)


@pytest.mark.parametrize("every", [0, 1000])
def test_every_failed_call_is_logged(every: int) -> None:
    log = AccessLog(every)
    lines(log, OK)
    failures = [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAUTHENTICATED] * 2
    assert lines(log, *failures, OK) == [code.name for code in failures]


def test_streams_that_callers_leave_are_no_failures() -> None:
    assert lines(AccessLog(0), grpc.StatusCode.CANCELLED) == []


def test_probes_are_not_logged() -> None:
    log = AccessLog(1)
    codes = [OK, grpc.StatusCode.NOT_FOUND]
    assert lines(log, *codes, method="/grpc.health.v1.Health/Check") == []


def test_a_line_says_how_long_and_for_how_many_it_stands() -> None:
    log = AccessLog(100)
    with capture_logs() as written:
        log(FinishedCall("/p.S/Do", "me", OK, 0.123456789))
        log(FinishedCall("/p.S/Do", "me", grpc.StatusCode.INTERNAL, 1.0))
    assert [(one["seconds"], one["stands_for"]) for one in written] == [(0.123457, 100), (1.0, 1)]
