"""What the shell offers where a command wants the name of something that a server has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import typer

from service_kit import errors
from service_kit.cli.connection_options import ServerChoice, server_choice

# A shell waits with the cursor in the line.
_SECONDS = 1.0


def model_names(context: typer.Context, incomplete: str) -> list[str]:
    """Returns the running server's models that begin so; none when it does not answer."""
    return [one.name for one in _models(context) if one.name.startswith(incomplete)]


def label_names(context: typer.Context, incomplete: str) -> list[str]:
    """Returns the labels of all models: which one the line names, the shell does not tell here."""
    labels = {label for one in _models(context) for label in one.labels}
    return sorted(label for label in labels if label.startswith(incomplete))


def _client(choice: ServerChoice) -> Any:
    from inference_service.cli.connecting import open_client

    return open_client(choice, retries=False)


def _models(context: typer.Context) -> Iterable[Any]:
    choice = server_choice(context)
    if choice is None:
        return ()
    # Nobody can read a message in the middle of a line.
    with contextlib.suppress(errors.PbserveError), _client(choice) as client:
        found: Iterable[Any] = client.models(timeout=_SECONDS)
        return found
    return ()
