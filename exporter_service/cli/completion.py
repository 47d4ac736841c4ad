"""What the shell offers where a command wants the name of something that an exporter has."""

from __future__ import annotations

import contextlib
from typing import Any

import typer

from service_kit import errors
from service_kit.cli.connection_options import ServerChoice, server_choice

# A shell waits with the cursor in the line.
_SECONDS = 1.0


def model_names(context: typer.Context, incomplete: str) -> list[str]:
    """Returns the models of the running exporter's store that begin so; none without it."""
    choice = server_choice(context)
    if choice is None:
        return []
    # Nobody can read a message in the middle of a line.
    with contextlib.suppress(errors.PbserveError), _client(choice) as client:
        manifests, _ = client.artifacts(timeout=_SECONDS)
        names = {manifest.model for manifest in manifests}
        return sorted(name for name in names if name.startswith(incomplete))
    return []


def architecture_names(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Returns what the running exporter can build, with what that is."""
    choice = server_choice(context)
    if choice is None:
        return []
    with contextlib.suppress(errors.PbserveError), _client(choice) as client:
        found = client.architectures(timeout=_SECONDS)
        return [(one.name, one.summary) for one in found if one.name.startswith(incomplete)]
    return []


def _client(choice: ServerChoice) -> Any:
    from exporter_service.cli.connecting import open_client

    return open_client(choice, retries=False)
