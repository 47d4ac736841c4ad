"""The synchronous half of every client: calls, their tries, and the end of it all."""

from __future__ import annotations

import threading
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


class Client:
    """A connection to one service; a context manager that closes it. Threads may share it."""

    # Full name, which spans have; those that call a service have one.
    _service = ""

    def __init__(
        self,
        address: str,
        stub: Callable[[grpc.Channel], Any],
        **options: Unpack[ConnectionOptions],
    ) -> None:
        """Prepares a connection; it is made by the first call.

        Raises:
            InvalidRequest: the address or an option cannot be what is meant.
        """
        self._connection = connection_to(address, **options)
        self._channel = self._connection.open()
        self._stub = stub(self._channel)
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection and ends what is still in flight."""
        self._closed.set()
        self._channel.close()

    def wait_until_ready(self, *, timeout: float = 60.0) -> None:
        """Returns when the server answers requests.

        Raises:
            DeadlineExpired: it did not within `timeout` seconds.
        """
        self._wait_until_serving("", timeout)

    def _run(self, call: Call[Result], timeout: float | None) -> Result:
        """Makes a call, again where it may be, within `timeout` seconds for all of it."""
        attempts = self._attempts(timeout, repeatable=call.repeatable)
        with client_span(self._service, call.rpc) as span:
            while True:
                try:
                    with typed_errors(self._service):
                        response = self._call(call.rpc, call.request, attempts, span)
                    return call.result(response)
                except errors.PbserveError as error:
                    self._check_open()
                    if attempts.failed and isinstance(error, call.done_by):
                        # Only calls without a result have such errors.
                        return cast("Result", None)
                    span.failed(error)
                    self._pause(attempts.pause_after(error))

    def _attempts(self, timeout: float | None, *, repeatable: bool) -> Attempts:
        seconds = self._connection.seconds(timeout)
        return Attempts(self._connection.retry, seconds, repeatable=repeatable)

    def _call(self, rpc: str, request: Any, attempts: Attempts, span: ClientSpan) -> Any:
        self._check_open()
        method = getattr(self._stub, rpc)
        return method(
            request, timeout=attempts.timeout, **self._connection.arguments(span.metadata)
        )

    def _pause(self, seconds: float) -> None:
        self._closed.wait(seconds)
        self._check_open()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise RuntimeError("the client is closed: make another one")

    def _wait_until_serving(self, name: str, seconds: float) -> None:
        attempts, waiting = Attempts(PATIENT, seconds), Waiting(name, seconds, self._service)
        health: Any = health_pb2_grpc.HealthStub(self._channel)
        request = watch_request(name)
        while attempts.left > 0:
            self._check_open()
            failure = errors.ServerStopping("the server ended the watch")
            watch = health.Watch(request, timeout=attempts.timeout, **self._connection.arguments())
            try:
                for response in watch:
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
            self._pause(pause)
        raise waiting.expired()
