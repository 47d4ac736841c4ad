from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from inference_service.streaming import answer_all


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
    stream = answer_all(Source(3), answers, window=8, keeps_order=lambda _: False)  # type: ignore[arg-type]
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
    stream = answer_all(Source(3), answers, window=8, keeps_order=lambda _: True)  # type: ignore[arg-type]
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
    stream = answer_all(source, answers, window=window, keeps_order=lambda _: False)  # type: ignore[arg-type]
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
    stream = answer_all(Source(4), answers, window=3, keeps_order=lambda _: False)  # type: ignore[arg-type]
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

    stream = answer_all(breaking(), answer, window=3, keeps_order=lambda _: False)
    with pytest.raises(ConnectionError, match="gone"):
        [one async for one in stream]


async def test_no_requests_are_no_answers() -> None:
    stream = answer_all(Source(0), Answers(), window=3, keeps_order=lambda _: False)  # type: ignore[arg-type]
    assert [answer async for answer in stream] == []
