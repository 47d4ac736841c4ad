"""A server of `grpc.health.v1` that says what a test tells it to say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from service_kit import errors, status
from service_kit.client.call import Call

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

# The rpc that tests call, as clients describe theirs.
CHECK: Call[int] = Call("Check", health_pb2.HealthCheckRequest(), lambda answer: answer.status)


class ScriptedHealth(health_pb2_grpc.HealthServicer):
    """Answers each call with the next of `script`, an error or a status; the last one stays.

    `seen` has the metadata of each call.
    """

    def __init__(self) -> None:
        self.script: list[Any] = [SERVING]
        self.seen: list[dict[str, Any]] = []
        self.address = ""

    def _next(self, context: Any) -> Any:
        self.seen.append(dict(context.invocation_metadata()))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, errors.PbserveError):
            context.abort_with_status(rpc_status.to_status(status.to_proto(step)))
        if isinstance(step, grpc.StatusCode):
            context.abort(step, "as the script says")
        return health_pb2.HealthCheckResponse(status=step)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._next(context)

    def Watch(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        yield self._next(context)


class TimedStub:
    """Stub of the service that keeps the timeouts of its calls: on the wire they are rounded."""

    def __init__(self, channel: Any) -> None:
        self._stub: Any = health_pb2_grpc.HealthStub(channel)
        self.timeouts: list[float | None] = []

    def Check(self, request: Any, timeout: float | None, **options: Any) -> Any:  # noqa: N802
        self.timeouts.append(timeout)
        return self._stub.Check(request, timeout=timeout, **options)


@contextlib.contextmanager
def scripted_health(
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[ScriptedHealth]:
    """Runs the server until the block ends."""
    servicer = ScriptedHealth()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if credentials:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    servicer.address = f"127.0.0.1:{port}"
    server.start()
    try:
        yield servicer
    finally:
        server.stop(None).wait()
