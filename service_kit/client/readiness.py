"""Waiting until a server says that it serves: what both clients have in common."""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2

from service_kit import errors, status
from service_kit.client.retry import RetryPolicy

# A server is looked for once a second at least; the deadline ends it.
PATIENT = RetryPolicy(attempts=sys.maxsize, first_pause=0.05, longest_pause=1.0)
# Waiting does not change these.
_FINAL = (
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
)


def watch_request(name: str) -> health_pb2.HealthCheckRequest:
    """Returns the request to be told of every change of `name`; empty: the server."""
    return health_pb2.HealthCheckRequest(service=name)


class Waiting:
    """Reads what a server says of itself, and knows what to say when the time is over."""

    def __init__(self, name: str, seconds: float, service: str = "") -> None:
        """Waits for `name` (a model; empty: the server), for so many seconds.

        `service` is the full name of what is asked otherwise, for messages.
        """
        self._name, self._seconds, self._service = name, seconds, service
        self._seen = "it did not answer"

    def is_over(self, response: health_pb2.HealthCheckResponse) -> bool:
        """Whether the response says that it serves."""
        state = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        self._seen = f"it is {state}"
        return response.status == health_pb2.HealthCheckResponse.SERVING

    def failed(self, error: grpc.RpcError) -> errors.ServerStopping:
        """Returns what to wait after; raises what will not get better."""
        typed = status.from_rpc_error(error, self._service)
        if error.code() in _FINAL:
            raise typed from error
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            self._seen = typed.message
        return errors.ServerStopping(typed.message)

    def expired(self) -> errors.DeadlineExpired:
        """Returns the error of a time that is over."""
        what = f"model {self._name}" if self._name else "the server"
        return errors.DeadlineExpired(
            f"{what} was not ready within {self._seconds:g} s: {self._seen}"
        )
