"""The asyncio half of every client: calls, their tries, and the end of it all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc
from grpc_health.v1 import health_pb2_grpc
from typing_extensions import Self, Unpack

from service_kit import errors
from service_kit.client.attempts import Attempts
from service_kit.client.call import Call
from service_kit.client.channel import typed_errors
from service_kit.client.client_span import ClientSpan, client_span
from service_kit.client.connection import ConnectionOptions, connection_to
from service_kit.client.readiness import PATIENT, Waiting, watch_request

Result = TypeVar("Result")


class AsyncClient:
    """A connection to one service; an asynchronous context manager that closes it.

    It may be made anywhere, and belongs to the event loop of its first call.
    """

    # Full name, which spans have; those that call a service have one.
    _service = ""

    def __init__(
        self,
        address: str,
        stub: Callable[[Any], Any],
        **options: Unpack[ConnectionOptions],
    ) -> None:
        """Prepares a connection; it is made by the first call.

        Raises:
            InvalidRequest: the address or an option cannot be what is meant.
        """
        self._connection = connection_to(address, **options)
        self._make_stub = stub
        self._opened: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection and ends what is still in flight."""
        self._closed = True
        if self._opened is not None:
            await self._opened.close()

    async def wait_until_ready(self, *, timeout: float = 60.0) -> None:
        """Returns when the server answers requests.

        Raises:
            DeadlineExpired: it did not within `timeout` seconds.
        """
        await self._wait_until_serving("", timeout)

    async def _run(self, call: Call[Result], seconds: float | None) -> Result:
        """Makes a call, again where it may be, within so many seconds for all of it."""
        attempts = self._attempts(seconds, repeatable=call.repeatable)
        with client_span(self._service, call.rpc) as span:
            while True:
                try:
                    with typed_errors(self._service):
                        response = await (await self._call(call.rpc, call.request, attempts, span))
                    return call.result(response)
                except errors.PbserveError as error:
                    self._check_open()
                    if attempts.failed and isinstance(error, call.done_by):
                        # Only calls without a result have such errors.
                        return cast("Result", None)
                    span.failed(error)
                    pause = attempts.pause_after(error)
                await asyncio.sleep(pause)

    def _attempts(self, timeout: float | None, *, repeatable: bool) -> Attempts:
        seconds = self._connection.seconds(timeout)
        return Attempts(self._connection.retry, seconds, repeatable=repeatable)

    async def _call(self, rpc: str, request: Any, attempts: Attempts, span: ClientSpan) -> Any:
        """Begins a call and returns it: a response to await, or responses to iterate over."""
        arguments = await self._connection.arguments_async(span.metadata)
        self._channel()
        return getattr(self._stub, rpc)(request, timeout=attempts.timeout, **arguments)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed: make another one")

    def _channel(self) -> grpc.aio.Channel:
        self._check_open()
        if self._opened is None:
            # Not before: a channel belongs to the loop that runs when it is opened.
            self._opened = self._connection.open_async()
            self._stub = self._make_stub(self._opened)
        return self._opened

    async def _wait_until_serving(self, name: str, seconds: float) -> None:
        attempts, waiting = Attempts(PATIENT, seconds), Waiting(name, seconds, self._service)
        request = watch_request(name)
        while attempts.left > 0:
            failure = errors.ServerStopping("the server ended the watch")
            arguments = await self._connection.arguments_async()
            health: Any = health_pb2_grpc.HealthStub(self._channel())
            watch = health.Watch(request, timeout=attempts.timeout, **arguments)
            try:
                async for response in watch:
                    if waiting.is_over(response):
                        return
            except grpc.RpcError as error:
                failure = waiting.failed(error)
            finally:
                watch.cancel()
            try:
                pause = attempts.pause_after(failure)
            except errors.ServerStopping:
                break
            await asyncio.sleep(pause)
        raise waiting.expired()
