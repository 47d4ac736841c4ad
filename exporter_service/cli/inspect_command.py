"""`pbexport inspect` and `architectures`: what there is to convert, and how."""

from __future__ import annotations

from typing import Annotated

import typer

from exporter_service.cli.connecting import open_client
from exporter_service.cli.options import Json, Timeout, connected
from service_kit.cli.connection_options import ServerChoice
from service_kit.cli.console import one_line_errors, plain, print_json, results

# Plug-ins are imported to describe them.
_ANSWER_SECONDS = 60.0


@connected
def inspect(
    checkpoint: Annotated[
        str, typer.Argument(help="Path below a checkpoint root.", show_default=False)
    ],
    timeout: Timeout = None,
    as_json: Json = False,
    *,
    connection: ServerChoice,
) -> None:
    """Show what a checkpoint and its training graph hold, and which architectures fit."""
    from exporter_service.cli import tables

    with one_line_errors(), open_client(connection) as client:
        contents = client.inspect(checkpoint, timeout=timeout)
        if as_json:
            print_json(tables.contents_values(contents))
        else:
            results.print(tables.contents_table(contents))


@connected
def architectures(as_json: Json = False, *, connection: ServerChoice) -> None:
    """List the architectures that can be built."""
    from exporter_service.cli import tables

    with one_line_errors(), open_client(connection) as client:
        found = client.architectures(timeout=_ANSWER_SECONDS)
        if as_json:
            print_json([plain(one) for one in found])
        else:
            results.print(tables.architectures_table(found))
