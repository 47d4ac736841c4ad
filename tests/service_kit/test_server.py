from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service_kit import errors
from service_kit.address import Address
from service_kit.health import OVERALL
from service_kit.server import Server

LOOPBACK = Address("127.0.0.1", 0)
STATUS = health_pb2.HealthCheckResponse


# Typed for synchronous channels alone.
reflection_stub: Any = reflection_pb2_grpc.ServerReflectionStub


async def check(channel: grpc.aio.Channel, name: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=name))
    return int(response.status)


async def test_health_is_told_overall_and_by_name() -> None:
    server = Server(max_message_bytes=2**20)
    address = await server.start(LOOPBACK, [])
    async with grpc.aio.insecure_channel(str(address)) as channel:
        assert await check(channel, OVERALL) == STATUS.NOT_SERVING
        await server.health.set(OVERALL, serving=True)
        await server.health.set("digits", serving=True)
        assert await check(channel, OVERALL) == STATUS.SERVING
        assert await check(channel, "digits") == STATUS.SERVING
        await server.health.forget("digits")
        assert await check(channel, "digits") == STATUS.SERVICE_UNKNOWN
    await server.drain(lame_duck_seconds=0, grace_seconds=0)


async def test_a_watcher_sees_the_drain_before_the_port_closes() -> None:
    server = Server(max_message_bytes=2**20)
    address = await server.start(LOOPBACK, [])
    await server.health.set(OVERALL, serving=True)
    async with grpc.aio.insecure_channel(str(address)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == STATUS.SERVING
        draining = asyncio.create_task(server.drain(lame_duck_seconds=60, grace_seconds=0))
        assert (await watch.read()).status == STATUS.NOT_SERVING
        assert not draining.done()
        watch.cancel()
    draining.cancel()
    await server.grpc.stop(None)


async def test_reflection_lists_what_is_served() -> None:
    server = Server(max_message_bytes=2**20)
    address = await server.start(LOOPBACK, ["pbserve.inference.v1.InferenceService"])
    async with grpc.aio.insecure_channel(str(address)) as channel:
        stub = reflection_stub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = [a async for a in stub.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {"pbserve.inference.v1.InferenceService", "grpc.health.v1.Health"} <= names
    await server.drain(lame_duck_seconds=0, grace_seconds=0)


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(max_message_bytes=2**20)
        with pytest.raises(errors.InvalidRequest, match=f"cannot listen on 127.0.0.1:{port}"):
            await server.start(Address("127.0.0.1", port), [])


async def test_the_end_under_load_refuses_calls_and_cuts_none_off() -> None:
    class Slow(grpc.GenericRpcHandler):
        async def _answer(self, request: bytes, context: Any) -> bytes:
            await asyncio.sleep(0.002)
            return request

        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(self._answer)

    server = Server(max_message_bytes=2**20)
    server.grpc.add_generic_rpc_handlers((Slow(),))
    address = await server.start(LOOPBACK, [])
    answered, refused = 0, []

    async def load() -> None:
        nonlocal answered
        async with grpc.aio.insecure_channel(
            str(address), [("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            rpc: Any = channel.unary_unary("/test/slow")
            while True:
                try:
                    await rpc(b"hello")
                    answered += 1
                except grpc.aio.AioRpcError as error:
                    refused.append(error.code())
                    return

    callers = [asyncio.create_task(load()) for _ in range(32)]
    while answered < 200:
        await asyncio.sleep(0.001)
    await server.drain(lame_duck_seconds=0, grace_seconds=20)
    await asyncio.gather(*callers)
    assert refused == [grpc.StatusCode.UNAVAILABLE] * 32
