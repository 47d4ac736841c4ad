"""What the clients, synchronous and asyncio, are told of their connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from typing_extensions import TypedDict, Unpack

from service_kit import errors
from service_kit.client.attempts import check_seconds
from service_kit.client.bearer_token import AsyncToken, current_token, current_token_async
from service_kit.client.channel import channel_options
from service_kit.client.client_span import Metadata
from service_kit.client.retry import RetryPolicy
from service_kit.client.target import check_target, is_loopback
from service_kit.client.tls import Tls


class ConnectionOptions(TypedDict, total=False):
    """What a client may be told besides the address.

    Attributes:
        tls: asks for an encrypted connection; None: plain text.
        token: sent as `authorization: Bearer <token>` with every call; a function is asked
            before each (by an asyncio client it may be awaited), from any thread that calls.
            Without `tls`, it is sent to this machine only.
        send_token_unencrypted: sends the token without `tls` to other machines too: whoever is
            on the way can read and use it.
        timeout: seconds of a call that names none of its own, tries and pauses included; None:
            no limit. A call goes without one by naming infinity.
        retry: how often and when failed calls are tried again.
    """

    tls: Tls | None
    token: AsyncToken | None
    send_token_unencrypted: bool
    timeout: float | None
    retry: RetryPolicy


@dataclass(frozen=True, slots=True)
class Connection:
    """Checked options; opens channels. Made by `connection_to`."""

    target: str
    retry: RetryPolicy
    timeout: float | None
    server_name: str
    credentials: grpc.ChannelCredentials | None = field(repr=False)
    token: AsyncToken | None = field(repr=False)

    def open(self) -> grpc.Channel:
        """Opens a channel; nothing is sent until the first call."""
        options = channel_options(self.target, self.server_name)
        if self.credentials is None:
            return grpc.insecure_channel(self.target, options)
        return grpc.secure_channel(self.target, self.credentials, options)

    def open_async(self) -> grpc.aio.Channel:
        """As `open`, for the event loop that runs."""
        options = channel_options(self.target, self.server_name)
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target, options)
        return grpc.aio.secure_channel(self.target, self.credentials, options)

    def seconds(self, timeout: float | None) -> float | None:
        """Returns the seconds of a call that asks for `timeout`; None: no limit.

        Raises:
            InvalidRequest: it is no number, or below 0.
        """
        return self.timeout if timeout is None else check_seconds(timeout)

    def arguments(self, metadata: Metadata = ()) -> dict[str, Any]:
        """Returns the arguments of a call that say who calls, and `metadata` besides.

        Raises:
            InvalidRequest: the token cannot be sent.
        """
        # An asynchronous function is refused there.
        token = current_token(self.token) if self.token is not None else None  # type: ignore[arg-type]
        return self._arguments(token, metadata)

    async def arguments_async(self, metadata: Metadata = ()) -> dict[str, Any]:
        """As `arguments`; awaits the token where that has to be."""
        token = None if self.token is None else await current_token_async(self.token)
        return self._arguments(token, metadata)

    def _arguments(self, token: str | None, metadata: Metadata) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        if token is not None and self.credentials is not None:
            # gRPC itself refuses to send these over anything that is not encrypted.
            arguments["credentials"] = grpc.access_token_call_credentials(token)
        elif token is not None:
            metadata = (*metadata, ("authorization", f"Bearer {token}"))
        if metadata:
            arguments["metadata"] = metadata
        return arguments


def connection_to(address: str, **options: Unpack[ConnectionOptions]) -> Connection:
    """Returns a connection that can be opened; reads the files of `tls`.

    Raises:
        InvalidRequest: an option cannot be what is meant, or the token would go to another
            machine as plain text.
    """
    target, tls, token = check_target(address), options.get("tls"), options.get("token")
    if token is not None and not (
        tls or is_loopback(target) or options.get("send_token_unencrypted", False)
    ):
        raise errors.InvalidRequest(
            f"the token would go to {target} unencrypted: give `tls`, or say "
            "send_token_unencrypted=True where the network itself is trusted"
        )
    return Connection(
        target=target,
        retry=options.get("retry", RetryPolicy()),
        timeout=check_seconds(options.get("timeout")),
        server_name=tls.server_name if tls else "",
        credentials=tls.credentials() if tls else None,
        token=token,
    )
