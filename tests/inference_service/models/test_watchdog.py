from __future__ import annotations

import asyncio

import pytest

from inference_service.models.health import ModelHealth
from inference_service.models.registry import Loaded, Registry
from inference_service.models.watchdog import watch_runs
from service_kit import errors
from service_kit.server.health import Health
from tests.support.cards import submit
from tests.support.engines import MeanEngine, pixels
from tests.support.servables import mean_servable

WAIT = 30.0


class Rounds:
    """Takes the place of `asyncio.sleep`: rounds come when a test says so."""

    def __init__(self) -> None:
        self.go, self.done = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        assert seconds == 1.0
        self.done.release()
        await self.go.acquire()

    async def one(self) -> None:
        self.go.release()
        await self.done.acquire()


@pytest.mark.parametrize("leaving", [False, True])
async def test_an_engine_that_does_not_come_back_is_noticed(leaving: bool) -> None:  # noqa: FBT001
    now, engine, registry, health = [100.0], MeanEngine(), Registry(), Health()
    servable = mean_servable(engine, cards=2, clock=lambda: now[0])
    registry.install(Loaded(servable, "f"))
    rounds = Rounds()
    watch = asyncio.create_task(watch_runs(registry, ModelHealth(health), sleep=rounds))
    await rounds.done.acquire()
    engine.gate.clear()
    stuck = submit(servable.cards[1], {"input": pixels(1)})
    assert await asyncio.to_thread(engine.started.acquire, timeout=WAIT)
    if leaving:
        registry.withdraw("m", 1)
    await rounds.one()
    assert not stuck.done()
    now[0] += 31
    await rounds.one()
    assert isinstance(stuck.exception(WAIT), errors.EngineFailed)
    assert health.is_serving("m/card/0") != leaving
    assert not health.is_serving("m/card/1")
    engine.gate.set()
    watch.cancel()
    while not servable.cards[1].healthy:
        await asyncio.sleep(0)
    servable.close()


async def test_a_look_that_fails_is_not_the_last_one() -> None:
    looks = []

    class Broken(Registry):
        def loaded(self) -> list[None]:  # type: ignore[override]
            looks.append(1)
            raise KeyError("x")

    rounds = Rounds()
    watch = asyncio.create_task(watch_runs(Broken(), ModelHealth(Health()), sleep=rounds))
    await rounds.done.acquire()
    await rounds.one()
    await rounds.one()
    assert len(looks) == 2
    watch.cancel()
