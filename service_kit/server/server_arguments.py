"""What gRPC is told of a server. Values in, values out.

The names are those of grpc/impl/channel_arg_names.h, and of src/core/server/server.h for the two of
requests that are pending (gRPC 1.83).
"""

from __future__ import annotations

from service_kit.server.keepalive import Keepalive

Argument = tuple[str, int]

# gRPC's integers have 32 bits; for times it means "never" or "for ever".
_MAX_INT = 2**31 - 1
# gRPC spreads the age by so much to both sides, by chance, for each connection
# (src/core/ext/filters/channel_idle/legacy_channel_idle_filter.cc, kMaxConnectionAgeJitter).
_AGE_JITTER = 0.1
# Calls that have come and that the event loop has not seen yet. By default gRPC cancels a part of
# those above 1,000 and all above 3,000, and their callers learn nothing. Here all are seen, and
# refused with a reason if need be; what is left is a bound for memory. One that waits takes about
# 15 KB, all of them 1 GB.
_MAX_WAITING = 65_536
# Pings of a client that keeps to the interval come a little early now and then, and gRPC counts
# those that do for as long as the server has nothing to send.
_PING_TOLERANCE = 0.8


def server_arguments(max_message_bytes: int, connection_seconds: float | None) -> list[Argument]:
    """Returns the arguments of a port with services.

    Args:
        max_message_bytes: of one message, in each direction.
        connection_seconds: by when a connection's client has been told to connect anew; None:
            never.
    """
    arguments = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # Two servers must not share a port without knowing of each other.
        ("grpc.so_reuseport", 0),
        # From the first one on, without a random part.
        ("grpc.server.max_pending_requests", _MAX_WAITING),
        ("grpc.server.max_pending_requests_hard_limit", _MAX_WAITING),
        # Seconds, by default 30, after which those that wait are cancelled.
        ("grpc.server_max_unrequested_time_in_server", _MAX_INT),
    ]
    if connection_seconds:
        # From that age on a connection lives until its calls have ended. gRPC could cut them off
        # after a grace, and by default does not: `OpenStreams` ends the streams, and other calls
        # end by themselves, if only after minutes, as conversions do.
        age = milliseconds(connection_seconds / (1 + _AGE_JITTER))
        arguments.append(("grpc.max_connection_age_ms", age))
    return arguments


def keepalive_arguments(keepalive: Keepalive) -> list[Argument]:
    """Returns the arguments for pings in both directions."""
    least = keepalive.least_ping_seconds * _PING_TOLERANCE
    timeout = milliseconds(keepalive.timeout_seconds)
    arguments = [
        ("grpc.keepalive_time_ms", milliseconds(keepalive.seconds) or _MAX_INT),
        # Of the server's pings; and clients without calls may else ping every two hours.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", milliseconds(least)),
    ]
    if keepalive.seconds:
        arguments += [
            ("grpc.keepalive_timeout_ms", timeout),
            # gRPC never starts the timer of the former (grpc_chttp2_end_write in
            # src/core/ext/transport/chttp2/transport/writing.cc), but that of any ping, 60 s.
            ("grpc.http2.ping_timeout_ms", timeout),
        ]
    return arguments


def milliseconds(seconds: float) -> int:
    """Returns whole milliseconds, at least 1 for what is above 0."""
    return min(_MAX_INT, max(round(seconds * 1e3), 1 if seconds else 0))
