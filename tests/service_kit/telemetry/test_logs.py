from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from service_kit.telemetry.logs import configure_logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_logs_are_one_object_a_line_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("json")
    log = structlog.get_logger()
    log.error("incident", incident="abc", exc_info=KeyError("k"))
    output = capsys.readouterr()
    assert output.out == ""
    line = json.loads(output.err)
    assert (line["event"], line["incident"], line["level"]) == ("incident", "abc", "error")
    assert line["exception"][0]["exc_type"] == "KeyError"


def test_what_callers_sent_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("console")
    structlog.get_logger().info("audit", model="\x1b[2J\nfaked", caller="w\u00e9b")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert r"model=\x1b[2J\nfaked" in line
    assert "caller=w\u00e9b" in line


def test_nor_can_what_they_sent_through_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("console")
    structlog.get_logger().error("incident", exc_info=KeyError("\x1b]0;t\x07\x1b[2J"))
    text = capsys.readouterr().err
    assert "KeyError" in text
    assert not set(text) & {"\x1b", "\x07"}


def test_console_logs_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("console")
    structlog.get_logger().info("available", model="digits")
    line = capsys.readouterr().err
    assert "available" in line
    assert "model=digits" in line
