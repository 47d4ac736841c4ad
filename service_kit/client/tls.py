"""How a client proves a server, and itself, with certificates."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

import grpc

from service_kit import errors

# The content itself, or the path of a file that has it.
Pem = Union[bytes, str, "os.PathLike[str]"]
_CERTIFICATE, _KEY, _ENCRYPTED = b"CERTIFICATE-----", b"PRIVATE KEY-----", b"ENCRYPTED"


@dataclass(frozen=True, slots=True)
class Tls:
    """Asks for an encrypted connection. Nothing of it is shown when it is printed.

    Attributes:
        root_certificates: PEM of those who may have signed the server's certificate; None: the
            public ones that gRPC brings.
        client_certificate: PEM, with what leads to its signer, for servers that ask for one.
        client_key: PEM of its private key, not encrypted.
        server_name: name in the server's certificate, where it is not that of the address.
    """

    root_certificates: Pem | None = field(default=None, repr=False)
    client_certificate: Pem | None = field(default=None, repr=False)
    client_key: Pem | None = field(default=None, repr=False)
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files and returns what a channel needs.

        Raises:
            InvalidRequest: a file cannot be read or holds something else; certificate and key
                are not both there.
        """
        if (self.client_certificate is None) != (self.client_key is None):
            raise errors.InvalidRequest("client_certificate and client_key go together: give both")
        key = _content("client_key", self.client_key, _KEY)
        if key and _ENCRYPTED in key:
            raise errors.InvalidRequest("client_key is encrypted: give it decrypted")
        return grpc.ssl_channel_credentials(
            root_certificates=_content("root_certificates", self.root_certificates, _CERTIFICATE),
            private_key=key,
            certificate_chain=_content("client_certificate", self.client_certificate, _CERTIFICATE),
        )


def _content(name: str, pem: Pem | None, label: bytes) -> bytes | None:
    """Returns PEM, which gRPC itself would not look into before the first connection fails."""
    if pem is None:
        return None
    content, where = (pem, name) if isinstance(pem, bytes) else _file(name, pem)
    if label not in content:
        raise errors.InvalidRequest(f"{where} has no {label.decode().strip('-').lower()} in PEM")
    return content


def _file(name: str, path: str | os.PathLike[str]) -> tuple[bytes, str]:
    """Returns the content of a file, and what to call it."""
    try:
        return Path(path).read_bytes(), f"{name} {os.fspath(path)}"
    except (OSError, ValueError, TypeError) as error:
        # The value itself may be a key that was meant as content.
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise errors.InvalidRequest(
            f"{name} cannot be read: {reason}: give the path of a PEM file, or its content as bytes"
        ) from None
