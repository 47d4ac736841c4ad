from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator

import pytest
from opentelemetry import trace

from inference_service.client import AsyncInferenceClient, InferenceClient
from inference_service.client.results import StreamAnswer
from service_kit import errors
from service_kit.client.retry import RetryPolicy
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer
from tests.support.spans import Spans, attributes, is_below

STREAM = "pbserve.inference.v1.InferenceService/StreamPredict"
GROUPS = [pixels(1), pixels(2), pixels(3)]
TWICE = RetryPolicy(attempts=2, stream_attempts=2, first_pause=0.001)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    made = Spans()
    made.are_the_programs(monkeypatch)
    return made


def is_current() -> bool:
    return trace.get_current_span().get_span_context().is_valid


def test_the_span_of_a_stream_lasts_as_long_as_it_does(
    server: InferenceServer, spans: Spans
) -> None:
    server.publish()
    with InferenceClient(server.address) as client:
        with spans.tracer.start_as_current_span("mine"):
            answers = client.stream("m", GROUPS)
            assert len(list(answers)) == 3
        left: Generator[StreamAnswer, None, None] = client.stream("m", GROUPS)
        next(left)
        # Whoever reads a stream has no span of ours around what it does meanwhile.
        assert not is_current()
        left.close()
        # One that nobody reads is none.
        client.stream("m", GROUPS).close()
        with pytest.raises(errors.InvalidRequest):
            client.stream("m", GROUPS, window=-5)
    whole, ended = spans.all(STREAM)
    assert is_below(whole, spans.one("mine"))
    assert attributes(whole)["rpc.response.status_code"] == "OK"
    assert attributes(ended)["rpc.response.status_code"] == "CANCELLED"


async def test_the_span_of_an_asyncio_stream_does_so_too(
    server: InferenceServer, spans: Spans
) -> None:
    server.publish()
    async with AsyncInferenceClient(server.address) as client:
        assert len([one async for one in client.stream("m", GROUPS)]) == 3
        left: AsyncGenerator[StreamAnswer, None] = client.stream("m", GROUPS)
        async with contextlib.aclosing(left):
            await anext(left)
            assert not is_current()
        await client.stream("m", GROUPS).aclose()
    codes = [attributes(one)["rpc.response.status_code"] for one in spans.all(STREAM)]
    assert codes == ["OK", "CANCELLED"]


def test_each_call_that_was_lost_is_an_event(spans: Spans) -> None:
    with (
        InferenceClient("127.0.0.1:1", retry=TWICE) as client,
        pytest.raises(errors.ServerStopping),
    ):
        list(client.stream("m", GROUPS))
    call = spans.one(STREAM)
    assert [event.name for event in call.events] == ["try_failed"] * 2
    assert attributes(call)["error.type"] == "SERVER_STOPPING"


async def test_each_call_that_asyncio_has_lost_is_an_event(spans: Spans) -> None:
    async with AsyncInferenceClient("127.0.0.1:1", retry=TWICE) as client:
        with pytest.raises(errors.ServerStopping):
            _ = [one async for one in client.stream("m", GROUPS)]
    assert [event.name for event in spans.one(STREAM).events] == ["try_failed"] * 2
