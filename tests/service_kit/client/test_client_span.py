from __future__ import annotations

import os
import subprocess
import sys

import pytest
from opentelemetry import trace

from service_kit import errors
from service_kit.client.client_span import client_span
from tests.support.spans import Spans, attributes, is_below


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    made = Spans()
    made.are_the_programs(monkeypatch)
    return made


def test_a_call_is_below_the_callers_span_and_tells_the_server_of_itself(spans: Spans) -> None:
    with spans.tracer.start_as_current_span("mine"), client_span("pkg.Service", "Do") as span:
        metadata = dict(span.metadata)
        assert trace.get_current_span().get_span_context().is_valid
    call = spans.one("pkg.Service/Do")
    assert call.kind is trace.SpanKind.CLIENT
    assert is_below(call, spans.one("mine"))
    assert attributes(call) == {
        "rpc.system.name": "grpc",
        "rpc.method": "pkg.Service/Do",
        "rpc.response.status_code": "OK",
    }
    assert metadata["traceparent"].split("-")[1:3] == [
        trace.format_trace_id(call.context.trace_id),
        trace.format_span_id(call.context.span_id),
    ]


def test_tries_that_fail_are_events_and_the_last_is_the_end(spans: Spans) -> None:
    span = client_span("s", "Do")
    span.failed(errors.ServerStopping("gone"))
    span.failed(errors.QueueFull("full"))
    with pytest.raises(errors.QueueFull), span:
        raise errors.QueueFull("full")
    call = spans.one("s/Do")
    reasons = [(event.attributes or {})["error.type"] for event in call.events]
    # An SDK adds the exception of a span that is current; ours is not.
    assert reasons == ["SERVER_STOPPING", "QUEUE_FULL"]
    assert attributes(call)["rpc.response.status_code"] == "RESOURCE_EXHAUSTED"
    assert call.status.status_code is trace.StatusCode.ERROR
    assert call.status.description == "full"


def test_what_is_no_error_of_ours_is_one_all_the_same(spans: Spans) -> None:
    with pytest.raises(KeyError), client_span("s", "Do"):
        raise KeyError("x")
    assert attributes(spans.one("s/Do"))["error.type"] == "KeyError"


def test_a_set_up_that_is_broken_costs_spans_alone() -> None:
    code = """
import opentelemetry.trace
from service_kit.client.client_span import client_span
with client_span("s", "A") as span:
    assert not span.metadata
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OTEL_PROPAGATORS": "tracecontext,nonsense"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("a span is lost: ValueError: Propagator nonsense not found")
    assert done.stderr.count("\n") == 1


def test_long_words_are_cut(spans: Spans) -> None:
    long = errors.ModelNotFound("x" * 1_000_000)
    span = client_span("s", "Do")
    span.failed(long)
    with pytest.raises(errors.ModelNotFound), span:
        raise long
    call = spans.one("s/Do")
    assert len(str(call.status.description)) == 2000
    assert [len(str((event.attributes or {})["message"])) for event in call.events] == [2000]


def test_programs_without_opentelemetry_pay_nothing() -> None:
    code = """
import sys
import exporter_service.composition, inference_service.composition
import exporter_service.client, inference_service.client
from service_kit.client.client_span import client_span
one, two = client_span("s", "A"), client_span("s", "B")
assert one is two and not one.metadata
found = [name for name in sys.modules if name.startswith("opentelemetry")]
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
