from __future__ import annotations

import asyncio

import pytest

from service_kit import errors
from service_kit.server.in_flight import Gate


async def test_a_closed_gate_refuses_and_waits_for_those_inside() -> None:
    gate = Gate()
    gate.enter("/s/One")
    closing = asyncio.create_task(gate.close(30))
    await asyncio.sleep(0)
    with pytest.raises(errors.ServerStopping, match="ask another one"):
        gate.enter("/s/Two")
    assert not closing.done()
    gate.leave("/s/One")
    await closing


async def test_health_is_neither_refused_nor_waited_for() -> None:
    gate = Gate()
    gate.enter("/grpc.health.v1.Health/Watch")
    await gate.close(0.01)
    gate.enter("/grpc.health.v1.Health/Check")
    gate.leave("/grpc.health.v1.Health/Check")
    gate.leave("/grpc.health.v1.Health/Watch")


async def test_waiting_has_an_end() -> None:
    gate = Gate()
    gate.enter("/s/Endless")
    await asyncio.wait_for(gate.close(0.05), 30)


async def test_a_full_gate_refuses_until_a_call_has_left() -> None:
    gate = Gate(2)
    for method in ("/s/One", "/s/Two"):
        assert gate.refusal(method) is None
        gate.enter(method)
    with pytest.raises(errors.TooManyCalls, match="has 2 calls in flight") as caught:
        gate.enter("/s/Three")
    assert caught.value.retry_after == 1.0
    assert isinstance(gate.refusal("/s/Three"), errors.TooManyCalls)
    # Health does not count, and is not refused.
    gate.enter("/grpc.health.v1.Health/Watch")
    gate.leave("/s/One")
    gate.enter("/s/Three")
    for method in ("/s/Two", "/s/Three"):
        gate.leave(method)
    await gate.close(30)


async def test_a_full_gate_that_is_closed_sends_callers_to_another_server() -> None:
    gate = Gate(1)
    gate.enter("/s/One")
    await gate.close(0)
    with pytest.raises(errors.ServerStopping):
        gate.enter("/s/Two")
