"""The servers behind one target, for what each of them has to be told."""

from __future__ import annotations

import socket

from service_kit import errors
from service_kit.address import Address, parse_address
from service_kit.client.target import SCHEMES, check_target


def server_name(target: str) -> str:
    """Returns the name that certificates of the servers are for; empty: the target has none.

    Args:
        target: as for `replicas`.
    """
    scheme, rest = _parts(check_target(target))
    return parse_address(rest).host if scheme == "dns" else ""


def replicas(target: str) -> tuple[str, ...]:
    """Returns a target for each server: every address of a name, every one of a list.

    Args:
        target: `host:port` or `dns:///host:port`, of a headless service for example;
            `ipv4:host:port,host:port`; a single server of any other kind.

    Raises:
        InvalidRequest: it is no target, or one whose servers only gRPC can find (`xds:`).
        ServerStopping: nobody knows the name.
    """
    scheme, rest = _parts(check_target(target))
    if scheme in ("ipv4", "ipv6"):
        return tuple(dict.fromkeys(f"{scheme}:{one}" for one in rest.split(",")))
    if scheme == "xds":
        raise errors.InvalidRequest(f"give dns:///name:port: {target} does not list its servers")
    if scheme != "dns":
        return (target,)
    address = parse_address(rest)
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise errors.ServerStopping(
            f"cannot reach the server: {address.host} has no addresses: {error}"
        ) from error
    hosts = sorted({str(end[0]) for *_, end in found})
    return tuple(str(Address(host, address.port)) for host in hosts)


def _parts(target: str) -> tuple[str, str]:
    """Returns the scheme, `dns` where there is none, and what gRPC takes behind it."""
    scheme, _, rest = target.partition(":")
    if scheme not in SCHEMES:
        return "dns", target
    # What is behind the last slash of dns://resolver/name:port.
    return scheme, rest.rpartition("/")[2] if scheme == "dns" else rest
