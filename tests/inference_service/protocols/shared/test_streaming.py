from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from inference_service.protocols.shared.streaming import answer_all
from service_kit import errors
from service_kit.server.open_streams import StreamEnd


def answered(
    requests: Any, answer: Any, *, window: int, in_order: bool = False, end: Any = None
) -> AsyncGenerator[Any, None]:
    return answer_all(
        requests,
        answer,
        window=window,
        keeps_order=lambda _: in_order,
        end=end or StreamEnd(),
    )


class Source:
    """Requests 0, 1, 2, ... that notes how far it was read."""

    def __init__(self, count: int) -> None:
        self.count, self.read = count, 0

    async def __aiter__(self) -> AsyncIterator[int]:
        for number in range(self.count):
            self.read += 1
            yield number


class Answers:
    """Answers that are given when the test says so."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[int]] = {}
        self.cancelled: list[int] = []

    async def __call__(self, request: int) -> int:
        self.waiting[request] = asyncio.get_running_loop().create_future()
        try:
            return await self.waiting[request]
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise

    def give(self, request: int) -> None:
        self.waiting[request].set_result(request * 10)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_answers_come_as_they_are_ready() -> None:
    answers = Answers()
    stream = answered(Source(3), answers, window=8)
    first = asyncio.ensure_future(stream.__anext__())
    await settle()
    answers.give(2)
    assert await first == 20
    answers.give(0)
    assert await stream.__anext__() == 0
    answers.give(1)
    assert [answer async for answer in stream] == [10]


async def test_answers_keep_the_order_of_the_requests_when_asked_to() -> None:
    answers = Answers()
    stream = answered(Source(3), answers, window=8, in_order=True)
    first = asyncio.ensure_future(stream.__anext__())
    await settle()
    answers.give(2)
    answers.give(1)
    await settle()
    assert not first.done()
    answers.give(0)
    assert [await first, *[answer async for answer in stream]] == [0, 10, 20]


@pytest.mark.parametrize("window", [1, 3])
async def test_no_more_is_read_than_the_window_allows(window: int) -> None:
    source, answers = Source(10), Answers()
    stream = answered(source, answers, window=window)
    first = asyncio.ensure_future(stream.__anext__())
    await settle()
    assert source.read == window
    answers.give(0)
    assert await first == 0
    await settle()
    # The answer was handed over, and its place is given back with the next call.
    second = asyncio.ensure_future(stream.__anext__())
    await settle()
    assert source.read == window + 1
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await stream.aclose()


async def test_leaving_cancels_what_is_in_flight() -> None:
    answers = Answers()
    stream = answered(Source(4), answers, window=3)
    first = asyncio.ensure_future(stream.__anext__())
    await settle()
    answers.give(1)
    await first
    await stream.aclose()
    assert sorted(answers.cancelled) == [0, 2]


async def test_a_source_that_breaks_ends_the_stream_with_its_error() -> None:
    async def breaking() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError("gone")

    async def answer(request: int) -> int:
        return request

    stream = answered(breaking(), answer, window=3)
    with pytest.raises(ConnectionError, match="gone"):
        [one async for one in stream]


async def test_no_requests_are_no_answers() -> None:
    stream = answered(Source(0), Answers(), window=3)
    assert [answer async for answer in stream] == []


@pytest.mark.parametrize("window", [3, 10])
async def test_a_server_that_stops_answers_what_it_has_read_and_says_so(window: int) -> None:
    async def endless() -> AsyncIterator[int]:
        for number in range(5):
            yield number
        await asyncio.Event().wait()

    answers, end = Answers(), StreamEnd()
    stream = answered(endless(), answers, window=window, end=end)
    first = asyncio.ensure_future(stream.__anext__())
    await settle()
    read = min(window, 5)
    assert sorted(answers.waiting) == list(range(read))
    end.tell()
    await settle()
    for number in range(read):
        answers.give(number)
    got = [await first]
    with pytest.raises(errors.ServerStopping, match="send what has no answer"):
        got.extend([answer async for answer in stream])
    assert sorted(answers.waiting) == list(range(read))
    assert answers.cancelled == []


async def test_at_its_connections_age_a_stream_ends_as_when_the_server_stops() -> None:
    async def endless() -> AsyncIterator[int]:
        yield 0
        await asyncio.Event().wait()

    answers, end = Answers(), StreamEnd()
    stream = answered(endless(), answers, window=3, end=end)
    first = asyncio.ensure_future(stream.__anext__())
    await settle()
    end.tell(aged=True)
    await settle()
    answers.give(0)
    assert await first == 0
    with pytest.raises(errors.ServerStopping, match="connect anew") as caught:
        await stream.__anext__()
    assert caught.value.retry_after == 0.0


@pytest.mark.parametrize("aged", [True, False])
async def test_requests_that_had_ended_are_answered_whatever_ends_the_stream(
    *,
    aged: bool,
) -> None:
    answers, end = Answers(), StreamEnd()
    stream = answered(Source(3), answers, window=8, end=end)
    first = asyncio.ensure_future(stream.__anext__())
    await settle()
    end.tell(aged=aged)
    await settle()
    for number in range(3):
        answers.give(number)
    assert sorted([await first, *[answer async for answer in stream]]) == [0, 10, 20]
    assert answers.cancelled == []
