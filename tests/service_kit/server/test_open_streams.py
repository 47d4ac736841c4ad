from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service_kit import errors
from service_kit.server.open_streams import OpenStreams, StreamEnd


class Call:
    """The context of a call of one connection."""

    def __init__(self, peer: str = "ipv4:127.0.0.1:1") -> None:
        self._peer = peer
        self._callbacks: list[Callable[[Any], None]] = []

    def peer(self) -> str:
        return self._peer

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def end(self) -> None:
        for callback in self._callbacks:
            callback(self)


async def told(end: StreamEnd) -> None:
    await asyncio.wait_for(end.wait(), 30)


async def test_the_end_of_a_server_is_told_to_all_streams_and_to_those_that_come_later() -> None:
    streams = OpenStreams()
    calls = [Call(), Call(), Call("ipv4:127.0.0.1:2")]
    ends = [streams.add(call) for call in calls]
    assert not any(end.is_told for end in ends)
    ending = asyncio.create_task(streams.end(60))
    for end in ends:
        await told(end)
        assert "the server is going away: send what has no answer" in str(end.error())
    assert not ending.done()
    late = Call()
    assert streams.add(late).is_told
    for call in (*calls, late):
        call.end()
    await asyncio.wait_for(ending, 30)


async def test_a_stream_ends_when_its_connection_has_reached_its_age() -> None:
    streams = OpenStreams(connection_seconds=0.01)
    end = streams.add(Call())
    await told(end)
    error = end.error()
    assert isinstance(error, errors.ServerStopping)
    assert "--max-connection-age" in error.message
    assert "send what has no answer" in error.message
    # At once: another connection is there for the asking.
    assert error.retry_after == 0.0


async def test_streams_of_a_connection_end_together_and_of_others_by_chance_later() -> None:
    chances = iter([1.0, 0.0])
    streams = OpenStreams(connection_seconds=0.1, uniform=lambda: next(chances))
    order: list[str] = []

    async def note(name: str, call: Call) -> None:
        await told(streams.add(call))
        order.append(name)

    await asyncio.gather(
        note("first", Call()),
        note("second", Call()),
        note("other", Call("ipv4:127.0.0.1:2")),
    )
    assert order[0] == "other"
    assert sorted(order[1:]) == ["first", "second"]


async def test_a_stream_that_is_opened_while_others_end_is_not_turned_away() -> None:
    streams = OpenStreams(connection_seconds=0.01, uniform=lambda: 0.0)
    await told(streams.add(Call()))
    late = streams.add(Call())
    await asyncio.sleep(0)
    assert not late.is_told
    await told(late)


async def test_a_stream_that_has_ended_is_told_nothing() -> None:
    streams = OpenStreams(connection_seconds=0.01, uniform=lambda: 0.0)
    call, later = Call(), Call("ipv4:127.0.0.1:2")
    end = streams.add(call)
    call.end()
    await told(streams.add(later))
    assert not end.is_told
    await streams.end(0)
    assert not end.is_told


async def test_without_an_age_streams_go_on() -> None:
    end = OpenStreams(connection_seconds=None).add(Call())
    await asyncio.sleep(0)
    assert not end.is_told


async def test_what_was_told_first_holds() -> None:
    streams = OpenStreams(connection_seconds=0.01)
    call = Call()
    end = streams.add(call)
    await told(end)
    ending = asyncio.create_task(streams.end(60))
    await asyncio.sleep(0)
    assert "--max-connection-age" in str(end.error())
    call.end()
    await asyncio.wait_for(ending, 30)


async def test_streams_on_one_connection_are_bounded() -> None:
    streams = OpenStreams(2)
    calls = [Call(), Call()]
    for call in calls:
        streams.add(call)
    with pytest.raises(errors.TooManyStreams, match="has 2 open streams"):
        streams.add(Call())
    streams.add(Call("ipv4:127.0.0.1:2"))
    calls[0].end()
    streams.add(Call())
