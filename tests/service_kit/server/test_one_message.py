from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from service_kit import errors, status
from service_kit.address import Address
from service_kit.server.server import Server

MAX_BYTES = 100_000


@pytest_asyncio.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = Server(max_message_bytes=MAX_BYTES)
    address = await server.start(Address("127.0.0.1", 0), [])
    async with grpc.aio.insecure_channel(str(address)) as opened:
        yield opened
    await server.drain(lame_duck_seconds=0, grace_seconds=1)


def streaming(channel: grpc.aio.Channel, method: str, *, answers: bool) -> Any:
    """Returns what sends messages to an rpc that takes one."""
    make = channel.stream_stream if answers else channel.stream_unary
    return make(f"/grpc.health.v1.Health/{method}")


def error_of(caught: grpc.aio.AioRpcError) -> errors.PbserveError:
    found = rpc_status.from_call(cast("grpc.Call", caught))
    assert found
    return status.from_proto(found)


async def test_a_call_without_a_message_gets_its_status_at_once(
    channel: grpc.aio.Channel,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        # Without a deadline: it would wait for ever.
        await streaming(channel, "Check", answers=False)(iter(()))
    error = error_of(caught.value)
    assert isinstance(error, errors.InvalidRequest)
    assert "send one message" in error.message
    call = streaming(channel, "Watch", answers=True)(iter(()))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert isinstance(error_of(caught.value), errors.InvalidRequest)


async def test_a_call_with_one_message_is_answered(channel: grpc.aio.Channel) -> None:
    request = health_pb2.HealthCheckRequest(service="").SerializeToString()
    serving = health_pb2.HealthCheckResponse.ServingStatus.Value("NOT_SERVING")
    check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
    answer = await check(request)
    assert health_pb2.HealthCheckResponse.FromString(answer).status == serving
    watching: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
    watch = watching(request)
    assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == serving
    watch.cancel()


async def test_a_message_that_is_too_large_is_refused_with_the_option_that_allows_it(
    channel: grpc.aio.Channel,
) -> None:
    check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(bytes(2 * MAX_BYTES))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    # In gRPC's own words, which our clients explain.
    error = status.from_rpc_error(caught.value)
    assert isinstance(error, errors.InvalidRequest)
    assert "--max-message-mb" in error.message
    assert str(MAX_BYTES) in error.message
