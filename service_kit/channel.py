"""Client side of a connection: channel options and errors with a meaning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType

import grpc
from typing_extensions import Self

from service_kit import errors, status

# A request is bounded by the server's own limit; the client does not second-guess it.
_UNLIMITED = -1


def open_channel(address: str) -> grpc.Channel:
    """Opens a channel to `host:port`; nothing is sent until the first call."""
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.max_receive_message_length", _UNLIMITED),
            ("grpc.max_send_message_length", _UNLIMITED),
        ],
    )


class Client:
    """A connection to one service; a context manager that closes it."""

    def __init__(self, address: str) -> None:
        """Prepares a connection to `host:port`; it is made by the first call."""
        self._channel = open_channel(address)

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
        self._channel.close()


@contextlib.contextmanager
def sendable() -> Iterator[None]:
    """Turns a value that no field of a message can hold into an `InvalidRequest`."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise errors.InvalidRequest(f"the request cannot be sent: {error}") from error


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """Turns a failed call into the `PbserveError` that the server raised."""
    try:
        yield
    except grpc.RpcError as error:
        raise status.from_rpc_error(error) from error
