"""Listening addresses, `host:port`."""

from __future__ import annotations

import ipaddress
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
