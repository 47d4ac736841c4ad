from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

import pytest
from opentelemetry import propagate

from service_kit import __version__
from service_kit.telemetry.tracing import tracing_by
from tests.support.collector import Collector, collecting

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
NOWHERE = {ENDPOINT: "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {ENDPOINT: " "},
        {"OTEL_SERVICE_NAME": "x"},
        NOWHERE | {"OTEL_SDK_DISABLED": "true"},
        NOWHERE | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nobody_who_has_not_asked_is_traced(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tracing_by(environment, "s") is None
    assert "traces" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin"),
        (NOWHERE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "PROTOCOL=grpc"),
        ({ENDPOINT: "http://user:s3cret@127.0.0.1:1"}, "OTEL_EXPORTER_OTLP_HEADERS is for"),
        (NOWHERE | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "PROTOCOL=http/json"),
    ],
)
def test_what_cannot_be_done_is_a_warning_and_the_service_goes_on(
    environment: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tracing_by(environment, "s") is None
    said = capsys.readouterr().out
    assert words in said
    assert "s3cret" not in said


def test_a_propagator_that_is_not_there_is_a_warning() -> None:
    # The variable is read once a process.
    code = (
        "from service_kit.telemetry.tracing import tracing_by\n"
        f"assert not tracing_by({NOWHERE}, 's')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OTEL_PROPAGATORS": "tracecontext,nonsense"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "traces_off" in done.stdout
    assert "Propagator nonsense not found" in done.stdout


def test_without_the_extra_the_log_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert tracing_by(NOWHERE, "s") is None
    assert "pip install 'pbserve[otel]'" in capsys.readouterr().out


def test_variables_that_the_sdk_refuses_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    assert tracing_by(NOWHERE, "s") is None
    assert "traces_off" in capsys.readouterr().out


def test_the_protocol_of_traces_counts_for_more_than_that_of_all() -> None:
    tracing = tracing_by(
        NOWHERE
        | {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
        },
        "s",
    )
    assert tracing is not None
    tracing.close(0.0)


def exported(collector: Collector, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    for name, value in {**collector.environment, **more}.items():
        monkeypatch.setenv(name, value)
    tracing = tracing_by({ENDPOINT: "set"}, "ours")
    assert tracing is not None
    tracing.tracer.start_span("one").end()
    tracing.close()


def test_spans_reach_the_collector_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        exported(collector, monkeypatch, OTEL_BSP_SCHEDULE_DELAY="60000")
        (span,) = collector.wait_for(bool)
    assert (span.service, span.name) == ("ours", "one")


def test_what_the_environment_says_of_the_service_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        exported(
            collector,
            monkeypatch,
            OTEL_RESOURCE_ATTRIBUTES="service.name=theirs",
            OTEL_EXPORTER_OTLP_HEADERS="api-key=secret",
        )
        exported(collector, monkeypatch, OTEL_SERVICE_NAME="named")
        spans = collector.wait_for(lambda spans: len(spans) == 2)
        assert collector.metadata["api-key"] == "secret"
    assert [one.service for one in spans] == ["theirs", "named"]


def test_samplers_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    tracing = tracing_by(NOWHERE, "s")
    assert tracing is not None
    span = tracing.tracer.start_span("one")
    assert not span.is_recording()
    assert tracing.provider.resource.attributes["service.version"] == __version__
    tracing.close()


def test_what_the_sdk_says_is_in_our_log_and_made_up_headers_are_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    tracing = tracing_by(NOWHERE, "s")
    assert tracing is not None
    for name, value in (("traceparent", "made-up"), ("baggage", "made=up;;,=")):
        propagate.extract({name: value, "traceparent": "00-" + "a" * 32 + "-zz"})
    logging.getLogger("opentelemetry.exporter.otlp").warning("collector %s is away", "c")
    tracing.close(0.0)
    out, err = capfd.readouterr()
    assert "made" not in out + err
    assert "collector c is away" in out
    assert err == ""


def test_no_secret_stands_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Bearer secret, key=other-secret")
    tracing = tracing_by(NOWHERE, "s")
    assert tracing is not None
    tracing.close(0.0)
    out, err = capfd.readouterr()
    assert "a variable with headers is not name=value" in out
    assert "secret" not in out + err


def test_a_collector_that_cannot_be_reached_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    tracing = tracing_by(NOWHERE, "s")
    assert tracing is not None
    tracing.tracer.start_span("one").end()
    tracing.close(0.0)
    # It goes on trying, and holds up nobody but itself.
    for sending in [one for one in threading.enumerate() if one.name == "last-spans"]:
        sending.join(30)
        assert not sending.is_alive()
