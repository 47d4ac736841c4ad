from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from service_kit.cli.serving_options import serving_options
from service_kit.server.keepalive import Keepalive
from service_kit.server.serving_settings import Listening, Serving


def run(*arguments: str, **environment: str) -> tuple[Listening | None, Any]:
    """Returns what the command `serve` was told, and how it ended."""
    app, told = typer.Typer(), []

    @app.command()
    @serving_options("TEST", "127.0.0.1:1", "127.0.0.1:2", 16)
    def serve(serving: Serving) -> None:
        told.append(serving.listening)

    done = CliRunner().invoke(app, arguments, env=environment)
    return (told[0] if told else None), done


def test_calls_are_bounded_and_connections_pinged_unless_it_is_said_otherwise() -> None:
    listening, _ = run()
    assert listening
    assert listening.max_calls == 8192
    assert listening.connection_seconds is None
    assert listening.keepalive == Keepalive(60.0, 20.0, 5.0)


def test_options_and_variables_of_connections() -> None:
    listening, _ = run(
        "--max-calls", "7", "--keepalive-time", "0", "--max-connection-age", "600",
        TEST_KEEPALIVE_TIMEOUT="3", TEST_MIN_PING_INTERVAL="0.1",
    )  # fmt: skip
    assert listening
    assert (listening.max_calls, listening.connection_seconds) == (7, 600.0)
    assert listening.keepalive == Keepalive(0.0, 3.0, 0.1)


@pytest.mark.parametrize(
    "option",
    ["--keepalive-time", "--keepalive-timeout", "--min-ping-interval", "--max-connection-age"],
)
def test_for_ever_is_no_time(option: str) -> None:
    listening, done = run(option, "inf")
    assert listening is None
    assert done.exit_code != 0
    assert f"give {option} as seconds: it is inf" in done.stderr
    assert done.stderr.count("\n") == 1
