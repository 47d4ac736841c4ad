from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service_kit import errors
from service_kit.address import Address
from service_kit.server import OVERALL, Server, stop_signal

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_wait(number: signal.Signals) -> None:
    told = stop_signal()
    os.kill(os.getpid(), number)
    await asyncio.wait_for(told.wait(), timeout=10)


def test_a_second_signal_ends_the_program_at_once() -> None:
    code = (
        "import asyncio, os, signal\n"
        "from service_kit.server import stop_signal\n"
        "async def main():\n"
        "    told = stop_signal()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    await told.wait()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 128 + signal.SIGINT
    assert "Traceback" not in done.stderr
