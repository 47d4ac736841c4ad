from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inference_service.cards.batching import Priority
from inference_service.images.decoders import Decoders
from service_kit import errors

WAIT = 30.0
INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK


class Images:
    """Notes its name in `log` for each image; while `gate` is cleared, the image takes longer."""

    def __init__(self, name: str, count: int, log: list[str]) -> None:
        self.name, self.left, self.log = name, count, log
        self.gate, self.started = threading.Event(), threading.Event()
        self.gate.set()

    @property
    def is_done(self) -> bool:
        return not self.left

    def decode_next(self) -> None:
        self.started.set()
        assert self.gate.wait(WAIT)
        self.log.append(self.name)
        self.left -= 1


class Bench:
    """Decoders with one thread, whose turns end after every image."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.seconds = 0.0
        self.decoders = Decoders(1, clock=self.clock)

    def clock(self) -> float:
        self.seconds += 1
        return self.seconds

    def decode(
        self, name: str, count: int = 1, priority: Priority = INTERACTIVE, *, wanted: bool = True
    ) -> asyncio.Task[bool]:
        return self.run(Images(name, count, self.log), priority, wanted=wanted)

    def run(
        self, images: Any, priority: Priority = INTERACTIVE, *, wanted: bool = True
    ) -> asyncio.Task[bool]:
        return asyncio.create_task(self.decoders.decode(images, priority, lambda: wanted))

    async def hold(self) -> tuple[Images, asyncio.Task[bool]]:
        """Occupies the thread until the gate of what is returned is set."""
        images = Images("held", 1, self.log)
        images.gate.clear()
        task = self.run(images)
        assert await asyncio.to_thread(images.started.wait, WAIT)
        return images, task


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    one = Bench()
    yield one
    one.decoders.close()


async def test_all_images_are_decoded(bench: Bench) -> None:
    assert await bench.decode("a", 3)
    assert bench.log == ["a"] * 3
    assert await bench.decode("none", 0)


async def test_interactive_requests_go_before_bulk_and_bulk_never_starves(bench: Bench) -> None:
    held, task = await bench.hold()
    waiting = [bench.decode(f"b{n}", priority=BULK) for n in range(2)]
    waiting += [bench.decode(f"i{n}") for n in range(5)]
    await asyncio.sleep(0)
    held.gate.set()
    await asyncio.gather(task, *waiting)
    assert bench.log == ["held", "i0", "i1", "i2", "b0", "i3", "i4", "b1"]


async def test_a_request_with_many_images_lets_others_in_between(bench: Bench) -> None:
    held, task = await bench.hold()
    waiting = [bench.decode("many", 4), bench.decode("few", 2)]
    await asyncio.sleep(0)
    held.gate.set()
    await asyncio.gather(task, *waiting)
    assert bench.log == ["held", "many", "few", "many", "few", "many", "many"]


async def test_what_nobody_wants_is_not_decoded(bench: Bench) -> None:
    assert not await bench.decode("unwanted", wanted=False)
    assert await bench.decode("next")
    assert bench.log == ["next"]


async def test_what_nobody_wants_any_more_ends_after_the_image_it_is_at() -> None:
    bench, wanted = Bench(), [True]
    images = Images("a", 10, bench.log)
    images.gate.clear()
    decoders: Any = bench.decoders
    task = asyncio.create_task(decoders.decode(images, INTERACTIVE, lambda: wanted[0]))
    assert await asyncio.to_thread(images.started.wait, WAIT)
    wanted[0] = False
    images.gate.set()
    assert not await task
    assert bench.log == ["a"]


async def test_who_is_cancelled_takes_nobody_s_turn(bench: Bench) -> None:
    held, task = await bench.hold()
    waiting = [bench.decode(f"{n}") for n in range(6)]
    await asyncio.sleep(0)
    for one in waiting[::2]:
        one.cancel()
    held.gate.set()
    done = await asyncio.gather(task, *waiting, return_exceptions=True)
    assert [one is True for one in done] == [True, False, True, False, True, False, True]
    assert bench.log == ["held", "1", "3", "5"]


async def test_who_is_cancelled_when_the_turn_comes_passes_it_on(bench: Bench) -> None:
    held, task = await bench.hold()
    first, second = bench.decode("first"), bench.decode("second")
    await asyncio.sleep(0)
    # In one round of the loop: the turn comes, and its owner goes.
    bench.decoders._next_turn()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    held.gate.set()
    assert await second
    assert await task
    assert bench.log == ["held", "second"]


async def test_a_thread_is_not_given_away_before_its_cancelled_image_is_done(bench: Bench) -> None:
    held, task = await bench.hold()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    other = bench.decode("other")
    await asyncio.sleep(0)
    assert bench.decoders._free == 0
    held.gate.set()
    assert await other


async def test_an_image_that_does_not_decode_frees_the_thread(bench: Bench) -> None:
    class Bad(Images):
        def decode_next(self) -> None:
            raise errors.InvalidTensor("no image")

    with pytest.raises(errors.InvalidTensor, match="no image"):
        await bench.run(Bad("bad", 1, bench.log))
    assert await bench.decode("good")


async def test_the_end_is_after_the_image_of_this_moment() -> None:
    bench = Bench()
    images = Images("a", 1000, bench.log)
    images.gate.clear()
    task = bench.run(images)
    assert await asyncio.to_thread(images.started.wait, WAIT)
    bench.decoders.close()
    images.gate.set()
    with pytest.raises(errors.ServerStopping):
        await task
    assert bench.log == ["a"]
