"""`pbexport verify`, `list` and `delete`: artifacts that are published."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from exporter_service.cli.completion import model_names
from exporter_service.cli.connecting import open_client
from exporter_service.cli.options import Json, Model, Timeout, connected
from service_kit.cli.connection_options import ServerChoice
from service_kit.cli.console import notices, one_line_errors, print_json, print_line, results


@connected
def verify(
    model: Model,
    version: Annotated[Optional[int], typer.Argument(help="Version; default: the highest.")] = None,
    timeout: Timeout = None,
    as_json: Json = False,
    *,
    connection: ServerChoice,
) -> None:
    """Check a published artifact again: its bytes, and its numbers in a fresh process."""
    from exporter_service.cli import tables

    with one_line_errors(), open_client(connection) as client:
        report = client.verify(model, version or 0, timeout=timeout)
        if as_json:
            print_json(tables.parity_values(report))
        else:
            results.print(tables.parity_table(report))


@connected
def list_artifacts(
    model: Annotated[
        Optional[str], typer.Argument(help="Only this model.", autocompletion=model_names)
    ] = None,
    timeout: Timeout = None,
    as_json: Json = False,
    *,
    connection: ServerChoice,
) -> None:
    """List published artifacts."""
    from exporter_service.cli import tables

    with one_line_errors(), open_client(connection) as client:
        manifests, unreadable = client.artifacts(model or "", timeout=timeout)
        if as_json:
            print_json([tables.manifest_values(manifest) for manifest in manifests])
        else:
            results.print(tables.artifacts_table(manifests))
        for line in unreadable:
            notices.print(f"unreadable: {line}", markup=False)


@connected
def delete(
    model: Model,
    version: Annotated[int, typer.Argument(help="Version to remove.", show_default=False)],
    timeout: Timeout = None,
    as_json: Json = False,
    *,
    connection: ServerChoice,
) -> None:
    """Remove one version of MODEL from the store."""
    with one_line_errors(), open_client(connection) as client:
        client.delete(model, version, timeout=timeout)
        if as_json:
            print_json({"model": model, "version": version})
        else:
            print_line(f"deleted version {version} of {model}")
