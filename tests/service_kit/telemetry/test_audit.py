from __future__ import annotations

import asyncio

import pytest
import structlog

from service_kit import errors
from service_kit.telemetry.audit import audited


def test_what_was_done_is_logged_with_its_result() -> None:
    with structlog.testing.capture_logs() as logs, audited("load", model="m", version=0):
        pass
    assert logs == [
        {"event": "audit", "log_level": "info", "action": "load", "model": "m", "result": "OK"}
    ]


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (errors.VersionNotFound("no"), "VERSION_NOT_FOUND"),
        (asyncio.CancelledError(), "CANCELLED"),
        (GeneratorExit(), "CANCELLED"),
        (KeyError("defect"), "INTERNAL_ERROR"),
    ],
)
def test_what_failed_is_logged_and_goes_on_failing(error: BaseException, result: str) -> None:
    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(type(error)),
        audited("load", model="m", version=3),
    ):
        raise error
    assert [(one["result"], one["version"], one["log_level"]) for one in logs] == [
        (result, 3, "warning")
    ]
