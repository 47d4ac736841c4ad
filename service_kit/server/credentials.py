"""TLS of a listening port: certificates from files that are read again when they change."""

from __future__ import annotations

import ssl
from typing import Any

import grpc
import structlog

from service_kit import errors
from service_kit.server.serving_settings import TlsFiles

_log = structlog.get_logger(__name__)


class TlsCredentials:
    """Credentials of a server, fresh for every new connection.

    So a certificate that is rotated (cert-manager, a Kubernetes secret) needs no restart. Files
    that do not fit together, because they are being replaced or are wrong, change nothing.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Reads the files.

        Raises:
            InvalidRequest: one cannot be read, or certificate and key are no pair.
        """
        self._files = files
        self._seen: object = self._identity()
        self._current = self._read()
        self._trouble = ""

    def for_server(self) -> grpc.ServerCredentials:
        """Returns what a port is opened with."""
        return grpc.dynamic_ssl_server_credentials(
            self._current,
            self._refresh,
            require_client_authentication=self._files.client_ca is not None,
        )

    def _refresh(self) -> Any:
        """Returns new certificates; None: they are the old ones. Called for each handshake.

        gRPC calls it on threads of its own, and must not see an error.
        """
        try:
            seen = self._identity()
            if seen == self._seen:
                return None
            read = self._read()
            if self._identity() != seen:
                # Replaced while they were read; the next connection gets them.
                return None
        except (errors.PbserveError, OSError) as error:
            if str(error) != self._trouble:
                _log.warning("certificates_refused", message=str(error))
            self._trouble = str(error)
            return None
        self._seen, self._current, self._trouble = seen, read, ""
        _log.info("certificates_read", certificate=str(self._files.certificate))
        return read

    def _identity(self) -> object:
        found = [path.stat() for path in self._files.paths if path.exists()]
        return [(one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size) for one in found]

    def _read(self) -> Any:
        files = self._files
        try:
            contents = [path.read_bytes() for path in files.paths]
            # gRPC itself would take anything and fail each handshake.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.certificate, files.key, password=_no_password)
            if files.client_ca:
                context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise errors.InvalidRequest(
                f"certificate {files.certificate} and key {files.key} are not usable together: "
                f"{error.reason or error}"
            ) from None
        except (OSError, ValueError) as error:
            raise errors.InvalidRequest(
                f"cannot read the TLS files: {getattr(error, 'filename', '') or ''} {error}".strip()
            ) from None
        certificate, key, *roots = contents
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], root_certificates=roots[0] if roots else None
        )


def _no_password() -> str:
    # Else OpenSSL asks for one on the terminal.
    raise ValueError("the key is encrypted: store it without a pass phrase")


def certificate_names(context: Any) -> list[str]:
    """Returns the common name and alternative names of a call's verified client certificate."""
    found = context.auth_context()
    keys = ("x509_common_name", "x509_subject_alternative_name")
    return [name.decode(errors="replace") for key in keys for name in found.get(key, ())]
