from __future__ import annotations

import asyncio

import pytest

from service_kit import errors
from service_kit.server.in_flight import InFlightCalls


async def test_a_closed_gate_refuses_and_waits_for_those_inside() -> None:
    in_flight = InFlightCalls()
    in_flight.enter("/s/One")
    closing = asyncio.create_task(in_flight.close(30))
    await asyncio.sleep(0)
    with pytest.raises(errors.ServerStopping, match="ask another one"):
        in_flight.enter("/s/Two")
    assert not closing.done()
    in_flight.leave("/s/One")
    await closing


async def test_health_is_neither_refused_nor_waited_for() -> None:
    in_flight = InFlightCalls()
    in_flight.enter("/grpc.health.v1.Health/Watch")
    await in_flight.close(0.01)
    in_flight.enter("/grpc.health.v1.Health/Check")
    in_flight.leave("/grpc.health.v1.Health/Check")
    in_flight.leave("/grpc.health.v1.Health/Watch")


async def test_waiting_has_an_end() -> None:
    in_flight = InFlightCalls()
    in_flight.enter("/s/Endless")
    await asyncio.wait_for(in_flight.close(0.05), 30)


async def test_a_full_gate_refuses_until_a_call_has_left() -> None:
    in_flight = InFlightCalls(2)
    for method in ("/s/One", "/s/Two"):
        assert in_flight.refusal(method) is None
        in_flight.enter(method)
    with pytest.raises(errors.TooManyCalls, match="has 2 calls in flight") as caught:
        in_flight.enter("/s/Three")
    assert caught.value.retry_after == 1.0
    assert isinstance(in_flight.refusal("/s/Three"), errors.TooManyCalls)
    # Health does not count, and is not refused.
    in_flight.enter("/grpc.health.v1.Health/Watch")
    in_flight.leave("/s/One")
    in_flight.enter("/s/Three")
    for method in ("/s/Two", "/s/Three"):
        in_flight.leave(method)
    await in_flight.close(30)


async def test_a_full_gate_that_is_closed_sends_callers_to_another_server() -> None:
    in_flight = InFlightCalls(1)
    in_flight.enter("/s/One")
    await in_flight.close(0)
    with pytest.raises(errors.ServerStopping):
        in_flight.enter("/s/Two")
