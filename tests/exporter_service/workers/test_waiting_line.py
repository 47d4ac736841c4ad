from __future__ import annotations

import asyncio

import pytest

from exporter_service.workers.waiting_line import WaitingLine
from service_kit import errors


class Guests:
    """Callers of one line: who is in, who has to wait."""

    def __init__(self, line: WaitingLine) -> None:
        self.line = line
        self.inside: list[str] = []
        self.queued: list[str] = []
        self.leave: dict[str, asyncio.Event] = {}

    async def _visit(self, name: str) -> None:
        async with self.line.place(lambda: self.queued.append(name)):
            self.inside.append(name)
            await self.leave[name].wait()
            self.inside.remove(name)

    async def come(self, name: str) -> asyncio.Task[None]:
        self.leave[name] = asyncio.Event()
        visit = asyncio.create_task(self._visit(name))
        await asyncio.sleep(0)
        return visit


async def test_places_go_to_who_waits_longest() -> None:
    guests = Guests(WaitingLine(2, 8))
    visits = [await guests.come(name) for name in "abcd"]
    assert (guests.inside, guests.queued) == (["a", "b"], ["c", "d"])
    guests.leave["b"].set()
    await visits[1]
    # Who comes in the moment in which a place is passed on does not overtake.
    visits.append(await guests.come("e"))
    assert guests.inside == ["a", "c"]
    for name in "acde":
        guests.leave[name].set()
    await asyncio.gather(*visits)
    assert guests.queued == ["c", "d", "e"]


async def test_the_line_is_bounded() -> None:
    guests = Guests(WaitingLine(1, 1))
    visits = [await guests.come(name) for name in "ab"]
    with pytest.raises(errors.QueueFull, match="--queue-limit") as caught:
        await (await guests.come("c"))
    assert caught.value.retry_after
    guests.leave["a"].set()
    await visits[0]
    visits.append(await guests.come("d"))
    for name in "bd":
        guests.leave[name].set()
    await asyncio.gather(*visits)


async def test_a_line_without_room_refuses_whom_it_has_no_place_for() -> None:
    guests = Guests(WaitingLine(1, 0))
    visit = await guests.come("a")
    with pytest.raises(errors.QueueFull):
        await (await guests.come("b"))
    assert guests.queued == []
    guests.leave["a"].set()
    await visit


async def test_who_gives_up_waiting_takes_no_place() -> None:
    guests = Guests(WaitingLine(1, 8))
    first, second, third = [await guests.come(name) for name in "abc"]
    second.cancel()
    guests.leave["a"].set()
    await first
    await asyncio.wait([second])
    assert second.cancelled()
    guests.leave["c"].set()
    await third


async def test_who_gives_up_in_the_moment_of_getting_a_place_passes_it_on() -> None:
    guests = Guests(WaitingLine(1, 8))
    first, second, third = [await guests.come(name) for name in "abc"]
    guests.line._leave()
    second.cancel()
    await asyncio.wait([second])
    await asyncio.sleep(0)
    assert "c" in guests.inside
    for name in "ac":
        guests.leave[name].set()
    await asyncio.gather(first, third)
