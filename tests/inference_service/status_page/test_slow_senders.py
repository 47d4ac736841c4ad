from __future__ import annotations

import asyncio

import pytest

from inference_service.status_page.slow_senders import SlowSenders
from service_kit import errors


class Site:
    """Two places, a clock, and bodies that come when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.senders = SlowSenders(2, clock=lambda: self.now)

    async def send(self, body: asyncio.Future[str]) -> asyncio.Task[str]:
        """Begins to read a body."""

        async def read() -> str:
            return await body

        task = asyncio.create_task(self.senders.read(read()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task


@pytest.fixture
def site() -> Site:
    return Site()


def body() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


async def test_who_is_slow_makes_room_for_who_comes(site: Site) -> None:
    slow, second, third = body(), body(), body()
    first = await site.send(slow)
    site.now = 1.0
    others = [await site.send(second)]
    site.now = 3.0
    others.append(await site.send(third))
    with pytest.raises(errors.DeadlineExpired, match="send the image again"):
        await first
    second.set_result("2")
    third.set_result("3")
    assert await asyncio.gather(*others) == ["2", "3"]


async def test_who_has_just_begun_is_not_sent_away(site: Site) -> None:
    first, second = body(), body()
    tasks = [await site.send(first), await site.send(second)]
    site.now = 2.9
    refused = await site.send(body())
    with pytest.raises(errors.QueueFull, match="2 images at a time"):
        await refused
    first.set_result("1")
    assert await tasks[0] == "1"
    third = await site.send(second)
    second.set_result("2")
    assert [await tasks[1], await third] == ["2", "2"]


async def test_who_goes_away_frees_the_place(site: Site) -> None:
    tasks = [await site.send(body()) for _ in range(2)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    done = body()
    done.set_result("1")
    assert await (await site.send(done)) == "1"


async def test_an_error_of_the_body_is_the_readers(site: Site) -> None:
    broken = body()
    broken.set_exception(errors.InvalidRequest("no form"))
    with pytest.raises(errors.InvalidRequest, match="no form"):
        await (await site.send(broken))
