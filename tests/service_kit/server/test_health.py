from __future__ import annotations

from typing import Any

from grpc_health.v1 import health_pb2

from service_kit.server.health import LIVE, OVERALL, Health

STATUS = health_pb2.HealthCheckResponse


async def answer(health: Health, name: str) -> int:
    servicer: Any = health.servicer
    return int((await servicer.Check(health_pb2.HealthCheckRequest(service=name), None)).status)


async def test_what_is_served_is_told_by_name() -> None:
    health = Health()
    await health.set("digits", serving=True)
    await health.set(OVERALL, serving=False)
    assert health.is_serving("digits")
    assert not health.is_serving(OVERALL)
    assert not health.is_serving("other")
    assert await answer(health, "digits") == STATUS.SERVING
    assert await answer(health, OVERALL) == STATUS.NOT_SERVING


async def test_the_end_is_told_of_everything_but_being_alive_and_nothing_changes_it() -> None:
    health = Health()
    for name in (OVERALL, LIVE, "digits"):
        await health.set(name, serving=True)
    await health.stop()
    await health.set("digits", serving=True)
    assert [await answer(health, name) for name in (OVERALL, LIVE, "digits")] == [
        STATUS.NOT_SERVING,
        STATUS.SERVING,
        STATUS.NOT_SERVING,
    ]
    assert not health.is_serving("digits")
