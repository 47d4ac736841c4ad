"""How a service listens, who may call it, and how it ends; the same for both services."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from service_kit import errors
from service_kit.address import Address
from service_kit.server.keepalive import DEFAULT_KEEPALIVE, Keepalive
from service_kit.telemetry.logs import LogFormat


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate chain, its key, and who signs clients (None: nobody has to)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return (self.certificate, self.key, *([self.client_ca] if self.client_ca else []))


def tls_files(
    certificate: Path | None, key: Path | None, client_ca: Path | None
) -> TlsFiles | None:
    """Returns the files of a port, None for a plain one.

    Raises:
        InvalidRequest: one of them is there without another that it needs.
    """
    if certificate and key:
        return TlsFiles(certificate, key, client_ca)
    if certificate or key or client_ca:
        raise errors.InvalidRequest(
            "--tls-cert and --tls-key go together, and --tls-client-ca goes with both"
        )
    return None


@dataclass(frozen=True, slots=True)
class Listening:
    """Settings of a port.

    Attributes:
        address: where; beyond loopback only with `tls`, or `insecure`.
        tls: files; None: plain.
        insecure: whether a plain port may be open to other machines.
        access_file: who may call what; None: everybody everything.
        health_address: of a second, plain port for health alone; None: there is none.
        reflects: whether clients may ask for the contract.
        max_message_bytes: of one message.
        max_calls: in flight, a stream being one; None: any number.
        max_connection_streams: open streams of requests on one connection; None: any number.
        connection_seconds: after which a connection is closed; None: never.
        keepalive: pings on connections.
    """

    address: Address
    tls: TlsFiles | None = None
    insecure: bool = False
    access_file: Path | None = None
    health_address: Address | None = None
    reflects: bool = True
    max_message_bytes: int = 64 * 2**20
    max_calls: int | None = None
    max_connection_streams: int | None = None
    connection_seconds: float | None = None
    keepalive: Keepalive = DEFAULT_KEEPALIVE

    def __post_init__(self) -> None:
        """Checks that nothing is open by oversight, and the age.

        Raises:
            InvalidRequest: it would be, or the age is no time.
        """
        age = self.connection_seconds
        if age is not None and not (age > 0 and math.isfinite(age)):
            raise errors.InvalidRequest(f"give --max-connection-age as seconds: it is {age}")
        if not (self.tls or self.insecure or self.address.is_loopback):
            raise errors.InvalidRequest(
                f"{self.address} is open to other machines and would be plain: give --tls-cert and "
                "--tls-key, or say --insecure"
            )


@dataclass(frozen=True, slots=True)
class Serving:
    """What both services can be told; times in seconds.

    Attributes:
        listening: of the port.
        metrics_address: of metrics over HTTP.
        lame_duck_seconds: from NOT_SERVING to no new calls.
        grace_seconds: for calls in flight at the end.
        log_format: of the lines on standard error.
        access_log_every: of so many calls that went well one is logged; 0: none.
    """

    listening: Listening
    metrics_address: Address
    lame_duck_seconds: float = 0.0
    grace_seconds: float = 10.0
    log_format: LogFormat = "console"
    access_log_every: int = 100
