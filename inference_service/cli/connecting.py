"""How commands and completion reach the inference service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service_kit.cli.connection_options import ServerChoice

if TYPE_CHECKING:
    from inference_service.client import InferenceClient


def open_client(connection: ServerChoice, *, retries: bool = True) -> InferenceClient:
    """Returns a client that has sent nothing yet.

    Raises:
        InvalidRequest: the address, a certificate or the token cannot be used.
    """
    # Imported when it is needed: help and completion start faster without.
    from inference_service.client import InferenceClient

    return InferenceClient(connection.address, **connection.client_options(retries=retries))
