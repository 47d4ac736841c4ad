"""Client side of a connection: channel options and errors with a meaning."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import grpc

from service_kit import errors, status
from service_kit.client.target import is_loopback

# A request is bounded by the server's own limit; the client does not second-guess it.
_UNLIMITED = -1
# All addresses of a name are used in turn: behind a headless service of Kubernetes, every pod.
# There is no `retryPolicy`: gRPC's own retries know neither RetryInfo nor which calls may be
# repeated, stop once a stream has had an answer, and would multiply with ours.
_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
# A server answers pings that come more often than every 5 minutes with GOAWAY (too_many_pings),
# unless it is told otherwise; balancers forget a silent connection after 350 s
# (https://docs.aws.amazon.com/elasticloadbalancing/latest/network/network-load-balancers.html).
# A dead machine is noticed sooner: with keepalive on, gRPC gives what it has sent 20 s to be
# acknowledged (TCP_USER_TIMEOUT).
_KEEPALIVE_MS, _KEEPALIVE_ANSWER_MS = 330_000, 20_000
# gRPC's own are 1 s and 2 minutes: a restarted server would be found that late.
_RECONNECT_FIRST_MS, _RECONNECT_LONGEST_MS = 100, 2_000
# gRPC's own is 30 s: in a rolling update all addresses that a client knows can go in less.
_RESOLVE_AGAIN_MS = 5_000


def channel_options(target: str, server_name: str = "") -> list[tuple[str, str | int]]:
    """Returns the options of a channel, synchronous or asyncio.

    Args:
        target: as returned by `check_target`.
        server_name: name in the server's certificate; empty: that of the target.
    """
    options: list[tuple[str, str | int]] = [
        ("grpc.max_receive_message_length", _UNLIMITED),
        ("grpc.max_send_message_length", _UNLIMITED),
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_ANSWER_MS),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_FIRST_MS),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_LONGEST_MS),
        ("grpc.dns_min_time_between_resolutions_ms", _RESOLVE_AGAIN_MS),
    ]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    if is_loopback(target):
        # What is meant for this machine, a token among it, does not go through a proxy.
        options.append(("grpc.enable_http_proxy", 0))
    return options


@contextlib.contextmanager
def sendable() -> Iterator[None]:
    """Turns a value that no field of a message can hold into an `InvalidRequest`."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise errors.InvalidRequest(f"the request cannot be sent: {error}") from error


@contextlib.contextmanager
def typed_errors(service: str = "") -> Iterator[None]:
    """Turns a failed call into the `PbserveError` that the server raised.

    `service` is the full name of what is asked, for messages.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise status.from_rpc_error(error, service) from error
