from __future__ import annotations

import asyncio

import pytest

from service_kit import errors
from service_kit.gate import Gate


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
