"""Certificates of an authority of the tests' own, as files."""

from __future__ import annotations

from pathlib import Path

import grpc
import trustme

from service_kit.server.serving_settings import TlsFiles


class Authority:
    """Issues certificates and writes them as PEM files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.roots = self._ca.cert_pem.bytes()
        self.roots_path = folder / "ca.pem"
        self.roots_path.write_bytes(self.roots)

    def server_files(self, *names: str, mutual: bool = False) -> TlsFiles:
        """Writes, or replaces, the files of a server at loopback."""
        made = self._ca.issue_cert("localhost", "127.0.0.1", *names)
        certificate, key = self._folder / "server.pem", self._folder / "server.key"
        _replace(certificate, b"".join(one.bytes() for one in made.cert_chain_pems))
        _replace(key, made.private_key_pem.bytes())
        return TlsFiles(certificate, key, self.roots_path if mutual else None)

    def channel_credentials(self, client: str = "") -> grpc.ChannelCredentials:
        """Returns what trusts the servers, and shows a certificate of that name."""
        if not client:
            return grpc.ssl_channel_credentials(self.roots)
        made = self._ca.issue_cert(client)
        chain = b"".join(one.bytes() for one in made.cert_chain_pems)
        return grpc.ssl_channel_credentials(self.roots, made.private_key_pem.bytes(), chain)


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)
