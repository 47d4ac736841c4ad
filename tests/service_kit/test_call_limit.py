from __future__ import annotations

import asyncio

import pytest

from service_kit import errors
from service_kit.call_limit import CallLimit

HEALTH = "/grpc.health.v1.Health/Watch"


async def ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
    # Its callbacks come after whatever waited for it.
    await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["returns", "raises", "cancelled"])
async def test_a_call_counts_until_its_task_ends(how: str) -> None:
    limit, go_on = CallLimit(1), asyncio.Event()

    async def serve() -> None:
        await go_on.wait()
        if how == "raises":
            raise ValueError

    task = asyncio.create_task(serve())
    assert limit.refusal("/s/One") is None
    limit.count("/s/One", task)
    refusal = limit.refusal("/s/Two")
    assert isinstance(refusal, errors.TooManyCalls)
    assert "has 1 calls in flight" in refusal.message
    assert refusal.retry_after == 1.0
    if how == "cancelled":
        task.cancel()
    go_on.set()
    await ended(task)
    assert limit.refusal("/s/Two") is None
    # What it raised has been seen.
    assert task.cancelled() or (task.exception() is None) == (how == "returns")


async def test_health_is_neither_counted_nor_refused() -> None:
    limit = CallLimit(1)
    watching = asyncio.create_task(asyncio.Event().wait())
    for _ in range(3):
        limit.count(HEALTH, watching)
    assert limit.refusal("/s/One") is None
    limit.count("/s/One", watching)
    assert limit.refusal("/s/Two")
    assert limit.refusal(HEALTH) is None
    watching.cancel()


async def test_without_a_limit_there_may_be_any_number() -> None:
    limit = CallLimit()
    task = asyncio.create_task(asyncio.Event().wait())
    for _ in range(100_000):
        limit.count("/s/One", task)
    assert limit.refusal("/s/One") is None
    task.cancel()
