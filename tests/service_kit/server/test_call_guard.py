from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from service_kit import errors, status
from service_kit.auth.access import Access, AccessRules, Token
from service_kit.auth.roles import Role
from service_kit.server.call_guard import CallGuard
from service_kit.server.served_call import FinishedCall
from service_kit.telemetry.current_call import add_call

METHODS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Service(grpc.GenericRpcHandler):
    """Four rpcs, one of each kind, that raise what the test planted."""

    def __init__(self, planted: Exception) -> None:
        self.planted = planted
        self.cleaned_up = False

    async def _fail(self, request: Any, context: Any) -> bytes:
        raise self.planted

    async def _fail_late(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            raise self.planted
        finally:
            self.cleaned_up = True

    def service(self, handler_call_details: Any) -> Any:
        kind = handler_call_details.method.rsplit("/", 1)[-1]
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(self._fail_late if kind.endswith("stream") else self._fail)


@contextlib.asynccontextmanager
async def serving(
    service: Service, guard: CallGuard | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(((guard or CallGuard()).over(service),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def call(
    channel: grpc.aio.Channel, kind: str, authorization: str | None = None
) -> list[bytes]:
    rpc: Any = getattr(channel, kind)(f"/test/{kind}")
    metadata = [("authorization", authorization)] if authorization else None
    request = iter([b"request"]) if kind.startswith("stream") else b"request"
    answers = rpc(request, metadata=metadata)
    if kind.endswith("unary"):
        return [await answers]
    return [answer async for answer in answers]


@pytest.mark.parametrize("kind", METHODS)
async def test_every_kind_of_rpc_answers_an_error_with_its_status(kind: str) -> None:
    async with serving(Service(errors.ModelNotFound("there is no model m"))) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    error = status.from_rpc_error(caught.value)
    assert isinstance(error, errors.ModelNotFound)
    assert str(error) == "there is no model m"


@pytest.mark.parametrize("kind", METHODS)
async def test_a_defect_shows_the_caller_an_incident_and_the_operator_the_trace(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(Service(KeyError("secret"))) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value.details())
    output = capsys.readouterr()
    incident = str(caught.value.details()).split("incident ")[1].split(":")[0]
    assert incident in output.out + output.err
    assert "secret" in output.out + output.err


async def test_a_long_message_reaches_the_caller() -> None:
    message = "missing " + ", ".join(f"densenet/dense_block{i}/weights" for i in range(2000))
    async with serving(Service(errors.CheckpointMismatch(message))) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "unary_unary")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert str(caught.value.details()).startswith("missing densenet/dense_block0/weights")


async def test_an_abandoned_stream_runs_its_clean_up() -> None:
    cleaned_up = asyncio.Event()

    class Endless(Service):
        async def _fail_late(self, request: Any, context: Any) -> AsyncIterator[bytes]:
            try:
                yield b"first"
                await asyncio.Event().wait()
            finally:
                cleaned_up.set()

    ended: list[FinishedCall] = []
    guard = CallGuard(observers=[ended.append])
    async with serving(Endless(KeyError("never reached")), guard) as channel:
        rpc: Any = channel.unary_stream("/test/unary_stream")
        answers = rpc(b"")
        assert await answers.read() == b"first"
        answers.cancel()
        await asyncio.wait_for(cleaned_up.wait(), 30)
        while not ended:
            await asyncio.sleep(0.001)
    assert [(one.method, one.code) for one in ended] == [
        ("/test/unary_stream", grpc.StatusCode.CANCELLED)
    ]


@pytest.mark.parametrize("kind", METHODS)
async def test_observers_learn_of_each_call_how_it_ended(kind: str) -> None:
    ended: list[FinishedCall] = []
    ticks = iter((1.0, 3.5))
    guard = CallGuard(observers=[ended.append], clock=lambda: next(ticks))
    async with serving(Service(errors.QueueFull("full")), guard) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, kind)
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ended == [FinishedCall(f"/test/{kind}", "anonymous", code, 2.5)]


async def test_a_status_that_a_service_sets_itself_is_told_as_it_is() -> None:
    class Aborting(Service):
        async def _fail(self, request: Any, context: Any) -> bytes:
            await context.abort(grpc.StatusCode.DATA_LOSS, "gone")
            raise AssertionError

    ended: list[FinishedCall] = []
    guard = CallGuard(observers=[ended.append])
    async with serving(Aborting(KeyError()), guard) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="gone"):
            await call(channel, "unary_unary")
        # The caller may know before the observers do.
        while not ended:
            await asyncio.sleep(0.001)
    assert [one.code for one in ended] == [grpc.StatusCode.DATA_LOSS]


@pytest.mark.parametrize("kind", METHODS)
async def test_a_call_that_is_not_admitted_never_reaches_the_service(kind: str) -> None:
    rules = AccessRules([Token("web", sha256(b"secret").digest(), frozenset([Role.READ]))])
    service = Service(AssertionError("reached"))
    ended: list[FinishedCall] = []
    guard = CallGuard(Access({f"/test/{kind}": Role.CONVERT}, rules), observers=[ended.append])
    async with serving(service, guard) as channel:
        for authorization, code in (
            (None, grpc.StatusCode.UNAUTHENTICATED),
            ("Bearer guess", grpc.StatusCode.UNAUTHENTICATED),
            ("Bearer secret", grpc.StatusCode.PERMISSION_DENIED),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, kind, authorization)
            assert caught.value.code() is code
    assert [one.code for one in ended] == [
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    ]


async def test_lines_of_the_log_have_the_calls_own_id_and_its_caller() -> None:
    rules = AccessRules([Token("web", sha256(b"secret").digest(), frozenset([Role.READ]))])
    guard = CallGuard(Access({"/test/unary_unary": Role.READ}, rules))
    with capture_logs([add_call]) as lines:
        async with serving(Service(errors.QueueFull("full")), guard) as channel:
            rpc: Any = channel.unary_unary("/test/unary_unary")
            metadata = (("authorization", "bearer secret"), ("x-request-id", "mine-7" + "x" * 1000))
            with pytest.raises(grpc.aio.AioRpcError):
                await rpc(b"request", metadata=metadata)
    (line,) = lines
    assert line["request"] == "mine-7" + "x" * 58
    assert line["caller"] == "web"
    assert "secret" not in str(line)


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_a_message_that_cannot_be_parsed_is_the_callers_error(kind: str) -> None:
    class Health(grpc.GenericRpcHandler):
        async def one(self, request: Any, context: Any) -> bytes:
            return b""

        async def many(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
            async for _ in requests:
                yield b""

        def service(self, handler_call_details: Any) -> Any:
            parse = health_pb2.HealthCheckRequest.FromString
            if kind == "unary":
                return grpc.unary_unary_rpc_method_handler(self.one, request_deserializer=parse)
            return grpc.stream_stream_rpc_method_handler(self.many, request_deserializer=parse)

    async def ask(channel: grpc.aio.Channel, message: bytes) -> None:
        if kind == "unary":
            rpc: Any = channel.unary_unary("/test/one")
            await rpc(message)
        else:
            calls: Any = channel.stream_stream("/test/many")
            assert [answer async for answer in calls(iter([message]))] == [b""]

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((CallGuard().over(Health()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await ask(channel, b"")
        with pytest.raises(grpc.aio.AioRpcError, match="cannot be parsed") as caught:
            await ask(channel, b"\xff\xff")
    await server.stop(None)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
