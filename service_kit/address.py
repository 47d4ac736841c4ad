"""Listening addresses, `host:port`."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from service_kit import errors


@dataclass(frozen=True, slots=True)
class Address:
    """A host (name, IPv4 or IPv6 without brackets) and a port, 0 to 65535."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it; a name other than `localhost` may be anywhere."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Returns the address in `text`; port 0 asks the system for a free one.

    Raises:
        InvalidRequest: it is not `host:port`.
    """
    host, separator, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not separator or not bare or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise errors.InvalidRequest(f"{text!r} is not an address: write host:port")
    return Address(bare, int(port))


def check_free(address: Address) -> None:
    """Tries whether a server could listen on an address, without a word on standard error.

    gRPC writes one of its own when it cannot.

    Raises:
        InvalidRequest: it could not; says why.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, place in found:
            with socket.socket(family, kind, protocol) as tried:
                # What ended a moment ago is no hindrance.
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(place)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(address, error) from error


def cannot_listen(address: Address, error: Exception) -> errors.InvalidRequest:
    """Returns the error of a server that finds its address taken, or not its own."""
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        why = "the port is in use: stop the other server, or give another address"
    elif number == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        why = "the host is not this machine's: give one of its addresses, or 0.0.0.0 for all"
    elif number == errno.EACCES:
        why = "this user may not: give a port of 1024 or higher"
    else:
        why = str(getattr(error, "strerror", None) or error)
    return errors.InvalidRequest(f"cannot listen on {address}: {why}")
