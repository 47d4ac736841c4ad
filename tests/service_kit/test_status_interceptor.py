from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from service_kit import errors, status
from service_kit.status_interceptor import StatusInterceptor

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
async def serving(service: Service) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[StatusInterceptor()])
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def call(channel: grpc.aio.Channel, kind: str) -> list[bytes]:
    rpc: Any = getattr(channel, kind)(f"/test/{kind}")
    answers = rpc(iter([b"request"]) if kind.startswith("stream") else b"request")
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
    service = Service(KeyError("never reached"))
    guarded = await StatusInterceptor().intercept_service(
        _continuation(service), type("Details", (), {"method": "/test/unary_stream"})()
    )
    answers = guarded.unary_stream(b"", None)
    assert await answers.__anext__() == b"first"
    await answers.aclose()
    assert service.cleaned_up


def _continuation(service: Service) -> Any:
    async def continuation(details: Any) -> Any:
        return service.service(details)

    return continuation


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

    server = grpc.aio.server(interceptors=[StatusInterceptor()])
    server.add_generic_rpc_handlers((Health(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await ask(channel, b"")
        with pytest.raises(grpc.aio.AioRpcError, match="cannot be parsed") as caught:
            await ask(channel, b"\xff\xff")
    await server.stop(None)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
