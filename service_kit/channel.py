"""Client side of a connection: channel options and errors with a meaning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc

from service_kit import status

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


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """Turns a failed call into the `PbserveError` that the server raised."""
    try:
        yield
    except grpc.RpcError as error:
        raise status.from_rpc_error(error) from error
