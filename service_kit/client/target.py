"""What a client connects to: `host:port`, or a target in gRPC's own words."""

from __future__ import annotations

from service_kit import errors
from service_kit.address import parse_address

# https://github.com/grpc/grpc/blob/master/doc/naming.md
SCHEMES = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")
_SAME_MACHINE = ("unix", "unix-abstract")
_URLS = ("http://", "https://", "grpc://", "grpcs://")


def check_target(text: str) -> str:
    """Returns what gRPC connects to.

    Args:
        text: `host:port`, or one of gRPC's targets: `dns:///name:port` for all addresses of a
            name, `ipv4:127.0.0.1:8500,127.0.0.1:8501` for several servers, `unix:/path`.

    Raises:
        InvalidRequest: it is neither.
    """
    if not isinstance(text, str):
        raise errors.InvalidRequest(f"{text!r} is not an address: write host:port")
    if text.lower().startswith(_URLS):
        raise errors.InvalidRequest(
            f"{text!r} is a URL: write host:port, and ask for TLS with `tls`"
        )
    scheme, separator, rest = text.partition(":")
    if separator and scheme in SCHEMES and rest:
        return text
    return str(parse_address(text))


def is_loopback(target: str) -> bool:
    """Whether everything that is sent to `target` stays on this machine."""
    scheme, _, rest = target.partition(":")
    if scheme in _SAME_MACHINE:
        return True
    if scheme not in SCHEMES:
        return _is_loopback_address(target)
    # What is behind the last slash of dns://resolver/name:port.
    return all(_is_loopback_address(one) for one in rest.rpartition("/")[2].split(","))


def _is_loopback_address(text: str) -> bool:
    try:
        return parse_address(text).is_loopback
    except errors.InvalidRequest:
        return False
