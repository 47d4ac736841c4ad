from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service_kit import errors, status
from service_kit.address import Address
from service_kit.server.health import OVERALL
from service_kit.server.keepalive import Keepalive
from service_kit.server.server import Server
from tests.support import http2
from tests.support.tcp_proxy import tcp_proxy

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
    server.services.add_generic_rpc_handlers((Slow(),))
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


class Service(grpc.GenericRpcHandler):
    """Answers every unary call by a function of the test."""

    def __init__(self, answer: Callable[[bytes, Any], Awaitable[bytes]]) -> None:
        self._answer = answer

    def service(self, handler_call_details: Any) -> Any:
        if not handler_call_details.method.startswith("/test/"):
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer)


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[bytes, Any], Awaitable[bytes]], **options: Any
) -> AsyncIterator[Address]:
    server = Server(max_message_bytes=2**20, **options)
    server.services.add_generic_rpc_handlers((Service(answer),))
    address = await server.start(LOOPBACK, [])
    try:
        yield address
    finally:
        await server.drain(lame_duck_seconds=0, grace_seconds=0)


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def test_who_watches_health_does_not_hold_up_the_end() -> None:
    server = Server(max_message_bytes=2**20)
    address = await server.start(LOOPBACK, [])
    async with grpc.aio.insecure_channel(str(address)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        # Far longer than the test may take.
        await server.drain(lame_duck_seconds=0, grace_seconds=3600)
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE


async def test_calls_above_the_limit_are_refused_before_their_message_is_there() -> None:
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def wait(request: bytes, context: Any) -> bytes:
        begun.release()
        await go_on.wait()
        return request

    async with (
        serving(wait, max_calls=2) as address,
        grpc.aio.insecure_channel(str(address)) as channel,
    ):
        unary: Any = channel.unary_unary("/test/wait")
        inside = [unary(b"one"), unary(b"two")]
        for _ in inside:
            await asyncio.wait_for(begun.acquire(), 30)
        # Typed for another kind of rpc; so the message can be left out.
        silent: Any = channel.stream_unary("/test/wait")
        assert await silent().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(b"three")
        error = status.from_rpc_error(caught.value)
        assert isinstance(error, errors.TooManyCalls)
        assert error.retry_after == 1.0
        # Health still answers.
        assert await check(channel, OVERALL) == STATUS.NOT_SERVING
        go_on.set()
        assert [await call for call in inside] == [b"one", b"two"]
        while True:
            # The callers may know of the end before the server's own account of it.
            with contextlib.suppress(grpc.aio.AioRpcError):
                assert await unary(b"four") == b"four"
                break


async def test_calls_that_send_no_message_take_no_place() -> None:
    async with (
        serving(echo, max_calls=1) as address,
        grpc.aio.insecure_channel(str(address)) as channel,
    ):
        silent: Any = channel.stream_unary("/test/echo")
        calls = [silent() for _ in range(3)]
        unary: Any = channel.unary_unary("/test/echo")
        assert await unary(b"hello") == b"hello"
        for call in calls:
            call.cancel()


def test_a_burst_of_calls_is_answered_or_refused_by_us() -> None:
    """Of 4,000 calls that come while the event loop is busy, gRPC cancels none."""
    came, go_on = threading.Event(), threading.Event()

    async def answer(request: bytes, context: Any) -> bytes:
        # On purpose: nothing that comes now is seen.
        came.set()
        assert go_on.wait(60)
        return request

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def on_loop(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    async def start() -> tuple[Server, Address]:
        server = Server(max_message_bytes=2**20, max_calls=2000)
        server.services.add_generic_rpc_handlers((Service(answer),))
        return server, await server.start(LOOPBACK, [])

    server, address = on_loop(start())
    with grpc.insecure_channel(str(address)) as channel:
        rpc: Any = channel.unary_unary("/test/echo")
        calls = [rpc.future(b"hello")]
        assert came.wait(30)
        calls += [rpc.future(b"hello") for _ in range(4000)]
        go_on.set()
        ended: Counter[tuple[str, bool]] = Counter()
        for call in calls:
            error = call.exception(60)
            retry = None if error is None else status.from_rpc_error(error).retry_after
            ended[call.code().name, retry is not None] += 1
    on_loop(server.drain(lame_duck_seconds=0, grace_seconds=5))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert set(ended) <= {("OK", False), ("RESOURCE_EXHAUSTED", True)}
    assert ended["OK", False] > 0


async def forever(request: bytes, context: Any) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("calls", [True, False])
async def test_a_client_may_ping_as_often_as_it_is_allowed_to(*, calls: bool) -> None:
    keepalive = Keepalive(least_ping_seconds=0.05)
    async with serving(forever, keepalive=keepalive) as address, http2.connected(address) as one:
        if calls:
            one.begin_call(b"/test/wait")
        for _ in range(20):
            assert await one.ping() == b""
            await asyncio.sleep(0.05)


async def test_a_client_that_pings_more_often_is_cut_off() -> None:
    async with serving(forever) as address, http2.connected(address) as one:
        # gRPC forgives a few.
        while not (said := await one.ping()):
            pass
        assert said == b"too_many_pings"


async def test_a_client_that_has_vanished_frees_its_call() -> None:
    ended, begun = asyncio.Event(), asyncio.Event()

    async def wait(request: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda _: ended.set())
        begun.set()
        return await forever(request, context)

    keepalive = Keepalive(seconds=0.1, timeout_seconds=0.1)
    async with (
        serving(wait, keepalive=keepalive) as address,
        tcp_proxy(address) as proxy,
        grpc.aio.insecure_channel(proxy.address) as channel,
    ):
        rpc: Any = channel.unary_unary("/test/wait")
        call = rpc(b"")
        await asyncio.wait_for(begun.wait(), 30)
        proxy.vanish()
        await asyncio.wait_for(ended.wait(), 30)
        assert not call.done()
        call.cancel()
