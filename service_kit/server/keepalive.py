"""Pings on connections: those that clients may send, and those of the server."""

from __future__ import annotations

import math
from dataclasses import dataclass

from service_kit import errors


@dataclass(frozen=True, slots=True)
class Keepalive:
    """How a server and its clients make sure of each other.

    Attributes:
        seconds: without a sign of a client after which the server pings it, whether or not it has
            calls; 0: never.
        timeout_seconds: for the answer; then the connection is closed, and its calls with it.
        least_ping_seconds: between two pings of a client; one that pings more often is cut off.
            0: as often as it likes. By default below the 10 s that is the least that gRPC's own
            client in Go can be set to
            (https://pkg.go.dev/google.golang.org/grpc/keepalive#ClientParameters).
    """

    seconds: float = 60.0
    timeout_seconds: float = 20.0
    least_ping_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Raises `InvalidRequest` for numbers that cannot be meant."""
        for option, seconds in (
            ("--keepalive-time", self.seconds),
            ("--keepalive-timeout", self.timeout_seconds),
            ("--min-ping-interval", self.least_ping_seconds),
        ):
            if not (seconds >= 0 and math.isfinite(seconds)):
                raise errors.InvalidRequest(f"give {option} as seconds: it is {seconds}")
        if not self.timeout_seconds:
            raise errors.InvalidRequest(
                "give --keepalive-timeout more than 0 s: no client answers at once"
            )


DEFAULT_KEEPALIVE = Keepalive()
