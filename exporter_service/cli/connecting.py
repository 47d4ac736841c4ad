"""How commands and completion reach the exporter service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service_kit.cli.connection_options import ServerChoice

if TYPE_CHECKING:
    from exporter_service.client import ExporterClient


def open_client(connection: ServerChoice, *, retries: bool = True) -> ExporterClient:
    """Returns a client that has sent nothing yet.

    Raises:
        InvalidRequest: the address, a certificate or the token cannot be used.
    """
    # Imported when it is needed: help and completion start faster without.
    from exporter_service.client import ExporterClient

    return ExporterClient(connection.address, **connection.client_options(retries=retries))
