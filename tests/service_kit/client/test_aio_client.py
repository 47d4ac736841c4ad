from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from typing_extensions import Unpack

from service_kit import errors
from service_kit.client.aio_client import AsyncClient
from service_kit.client.connection import ConnectionOptions
from service_kit.client.retry import RetryPolicy
from tests.support.scripted_health import (
    CHECK,
    NOT_SERVING,
    SERVING,
    ScriptedHealth,
    TimedStub,
    scripted_health,
)

QUICK = RetryPolicy(first_pause=0.001, longest_pause=0.002)
AWAY = errors.ServerStopping("away")


@pytest.fixture
def server() -> Iterator[ScriptedHealth]:
    with scripted_health() as running:
        yield running


def connected(server: ScriptedHealth, **options: Unpack[ConnectionOptions]) -> AsyncClient:
    options.setdefault("retry", QUICK)
    return AsyncClient(server.address, health_pb2_grpc.HealthStub, **options)


async def test_a_call_is_tried_until_it_succeeds(server: ScriptedHealth) -> None:
    refused = errors.QueueFull("full", retry_after=0.001)
    server.script = [AWAY, refused, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, SERVING]
    async with connected(server) as client:
        assert await client._run(CHECK, None) == SERVING
    assert len(server.seen) == 5


async def test_the_deadline_covers_all_tries(server: ScriptedHealth) -> None:
    server.script = [errors.QueueFull("full", retry_after=0.05), SERVING]
    async with AsyncClient(server.address, TimedStub, retry=QUICK) as client:
        await client._run(CHECK, 20)
        first, second = client._stub.timeouts
    assert 20 >= first > 0
    assert second <= first - 0.05


async def test_tries_are_bounded(server: ScriptedHealth) -> None:
    server.script = [AWAY]
    async with connected(server) as client:
        with pytest.raises(errors.ServerStopping, match="away"):
            await client._run(CHECK, None)
        assert len(server.seen) == QUICK.attempts
        with pytest.raises(errors.ServerStopping):
            await client._run(dataclasses.replace(CHECK, repeatable=False), None)
    assert len(server.seen) == QUICK.attempts + 1


async def test_a_second_try_may_find_that_the_first_one_did_it(server: ScriptedHealth) -> None:
    server.script = [AWAY, errors.ModelNotFound("gone")]
    async with connected(server) as client:
        done = dataclasses.replace(CHECK, done_by=(errors.NotFound,))
        assert await client._run(done, None) is None


async def test_the_token_may_be_awaited(server: ScriptedHealth) -> None:
    tokens = iter(["one", "two"])

    async def token() -> str:
        await asyncio.sleep(0)
        return next(tokens)

    async with connected(server, token=token) as client:
        await client._run(CHECK, None)
        await client.wait_until_ready(timeout=30)
    assert [one["authorization"] for one in server.seen] == ["Bearer one", "Bearer two"]


def test_a_client_may_be_made_where_no_loop_runs(server: ScriptedHealth) -> None:
    client = connected(server)

    async def ask() -> int:
        async with client:
            return await client._run(CHECK, None)

    assert asyncio.run(ask()) == SERVING


async def test_a_closed_client_says_so(server: ScriptedHealth) -> None:
    client = connected(server)
    await client._run(CHECK, None)
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client._run(CHECK, None)
    unused = connected(server)
    await unused.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        await unused.wait_until_ready(timeout=1)


async def test_a_cancelled_call_ends_at_once(server: ScriptedHealth) -> None:
    server.script = [errors.QueueFull("full", retry_after=9)]
    async with connected(server) as client:
        asking = asyncio.create_task(client._run(CHECK, None))
        while not server.seen:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_waits_through_errors_and_other_states(server: ScriptedHealth) -> None:
    server.script = [AWAY, NOT_SERVING, SERVING]
    async with connected(server) as client:
        await client.wait_until_ready(timeout=60)
    assert len(server.seen) == 3


async def test_waiting_says_what_it_saw(server: ScriptedHealth) -> None:
    server.script = [NOT_SERVING]
    async with connected(server) as client:
        with pytest.raises(errors.DeadlineExpired, match=r"within 0\.2 s: it is NOT_SERVING"):
            await client.wait_until_ready(timeout=0.2)


async def test_waiting_ends_where_it_cannot_help(server: ScriptedHealth) -> None:
    server.script = [grpc.StatusCode.UNAUTHENTICATED]
    async with connected(server) as client:
        with pytest.raises(errors.RemoteError, match="UNAUTHENTICATED"):
            await client.wait_until_ready(timeout=60)
