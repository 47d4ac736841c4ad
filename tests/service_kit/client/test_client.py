from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from typing_extensions import Unpack

from service_kit import errors
from service_kit.client.client import Client
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


def connected(server: ScriptedHealth, **options: Unpack[ConnectionOptions]) -> Client:
    options.setdefault("retry", QUICK)
    return Client(server.address, health_pb2_grpc.HealthStub, **options)


def test_a_call_is_tried_until_it_succeeds(server: ScriptedHealth) -> None:
    refused = errors.QueueFull("full", retry_after=0.001)
    # A server that stops cancels what it has just taken.
    server.script = [AWAY, refused, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, SERVING]
    with connected(server) as client:
        assert client._run(CHECK, None) == SERVING
    assert len(server.seen) == 5


def test_tries_are_bounded_and_the_last_error_is_the_servers(server: ScriptedHealth) -> None:
    server.script = [AWAY]
    with connected(server) as client, pytest.raises(errors.ServerStopping, match="away"):
        client._run(CHECK, None)
    assert len(server.seen) == QUICK.attempts


@pytest.mark.parametrize(
    "error", [errors.ModelNotFound("x"), errors.QueueFull("too large"), errors.InternalError("x")]
)
def test_what_does_not_pass_is_raised_at_once(
    server: ScriptedHealth, error: errors.PbserveError
) -> None:
    server.script = [error]
    with connected(server) as client, pytest.raises(type(error)):
        client._run(CHECK, None)
    assert len(server.seen) == 1


def test_what_may_not_be_repeated_is_not(server: ScriptedHealth) -> None:
    server.script = [AWAY, SERVING]
    once = dataclasses.replace(CHECK, repeatable=False)
    with connected(server) as client, pytest.raises(errors.ServerStopping):
        client._run(once, None)
    assert len(server.seen) == 1


def test_a_second_try_may_find_that_the_first_one_did_it(server: ScriptedHealth) -> None:
    done = dataclasses.replace(CHECK, done_by=(errors.NotFound,))
    with connected(server) as client:
        server.script = [AWAY, errors.ModelNotFound("gone")]
        assert client._run(done, None) is None
        server.script = [errors.ModelNotFound("never there")]
        with pytest.raises(errors.ModelNotFound):
            client._run(done, None)


def test_the_deadline_covers_all_tries(server: ScriptedHealth) -> None:
    server.script = [errors.QueueFull("full", retry_after=0.05), SERVING]
    with Client(server.address, TimedStub, retry=QUICK) as client:
        client._run(CHECK, 20)
        first, second = client._stub.timeouts
    assert 20 >= first > 0
    assert second <= first - 0.05


def test_a_wait_beyond_the_deadline_is_not_begun(server: ScriptedHealth) -> None:
    server.script = [errors.QueueFull("full", retry_after=20), SERVING]
    with connected(server) as client, pytest.raises(errors.QueueFull) as caught:
        client._run(CHECK, 10)
    assert caught.value.retry_after == 20


def test_a_client_has_a_timeout_that_calls_may_change(server: ScriptedHealth) -> None:
    with Client(server.address, TimedStub, timeout=100) as client:
        for timeout in (None, 5, math.inf):
            client._run(CHECK, timeout)
        first, second, third = client._stub.timeouts
    assert 5 < first <= 100
    assert 0 < second <= 5
    assert third is None


def test_the_token_is_asked_for_with_each_try(server: ScriptedHealth) -> None:
    tokens = iter(["one", "two", "three"])
    server.script = [AWAY, SERVING]
    with connected(server, token=lambda: next(tokens)) as client:
        client._run(CHECK, None)
        client.wait_until_ready(timeout=30)
    assert [one["authorization"] for one in server.seen] == [
        "Bearer one",
        "Bearer two",
        "Bearer three",
    ]


def test_threads_may_share_a_client(server: ScriptedHealth) -> None:
    server.script = [AWAY, AWAY, SERVING] * 20 + [SERVING]
    results: list[int] = []
    with connected(server, retry=dataclasses.replace(QUICK, attempts=100)) as client:
        threads = [
            threading.Thread(target=lambda: results.append(client._run(CHECK, 60)))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [SERVING] * 20


def test_a_closed_client_says_so_and_stops_waiting(server: ScriptedHealth) -> None:
    server.script = [errors.QueueFull("full", retry_after=9)]
    client = connected(server)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            client._run(CHECK, None)
        except RuntimeError as error:
            failures.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    while not server.seen:
        assert waiting.is_alive()
    client.close()
    waiting.join()
    assert "the client is closed" in str(failures[0])
    with pytest.raises(RuntimeError, match="the client is closed"):
        client._run(CHECK, None)
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.wait_until_ready(timeout=30)
    client.close()


def test_waits_through_errors_and_other_states(server: ScriptedHealth) -> None:
    server.script = [AWAY, NOT_SERVING, NOT_SERVING, SERVING]
    with connected(server) as client:
        client.wait_until_ready(timeout=60)
    assert len(server.seen) == 4


def test_waiting_says_what_it_saw(server: ScriptedHealth) -> None:
    server.script = [NOT_SERVING]
    with (
        connected(server) as client,
        pytest.raises(errors.DeadlineExpired, match=r"within 0\.2 s: it is NOT_SERVING"),
    ):
        client.wait_until_ready(timeout=0.2)
    nobody = Client("127.0.0.1:1", health_pb2_grpc.HealthStub)
    with nobody, pytest.raises(errors.DeadlineExpired, match=r"nothing listens on 127\.0\.0\.1:1"):
        nobody.wait_until_ready(timeout=0.2)


def test_waiting_ends_where_it_cannot_help(server: ScriptedHealth) -> None:
    server.script = [grpc.StatusCode.UNIMPLEMENTED]
    with connected(server) as client, pytest.raises(errors.RemoteError, match="UNIMPLEMENTED"):
        client.wait_until_ready(timeout=60)
    assert len(server.seen) == 1
