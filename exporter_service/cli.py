"""`pbexport`: the exporter service and its client on the command line."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from exporter_service import tables
from exporter_service.adopt_command import adopt
from exporter_service.client import ExporterClient
from exporter_service.convert_command import convert
from exporter_service.options import DEFAULT_ADDRESS, Address, Json, Model
from exporter_service.serve_command import serve
from service_kit.console import notices, one_line_errors, plain, print_json, results

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turns TensorFlow 1 training checkpoints into frozen graphs that pbserve serves.",
)
app.command()(serve)
app.command()(convert)
app.command()(adopt)


@app.command()
def inspect(
    checkpoint: Annotated[
        str, typer.Argument(help="Path below a checkpoint root.", show_default=False)
    ],
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show what a checkpoint and its training graph hold, and which architectures fit."""
    with one_line_errors(), ExporterClient(address) as client:
        contents = client.inspect(checkpoint)
        if as_json:
            print_json(tables.contents_values(contents))
        else:
            results.print(tables.contents_table(contents))


@app.command()
def verify(
    model: Model,
    version: Annotated[Optional[int], typer.Argument(help="Version; default: the highest.")] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Check a published artifact again: its bytes, and its numbers in a fresh process."""
    with one_line_errors(), ExporterClient(address) as client:
        report = client.verify(model, version or 0)
        if as_json:
            print_json(tables.parity_values(report))
        else:
            results.print(tables.parity_table(report))


@app.command(name="list")
def list_artifacts(
    model: Annotated[Optional[str], typer.Argument(help="Only this model.")] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List published artifacts."""
    with one_line_errors(), ExporterClient(address) as client:
        manifests, unreadable = client.artifacts(model or "")
        if as_json:
            print_json([tables.manifest_values(manifest) for manifest in manifests])
        else:
            results.print(tables.artifacts_table(manifests))
        for line in unreadable:
            notices.print(f"unreadable: {line}", markup=False)


@app.command()
def delete(
    model: Model,
    version: Annotated[int, typer.Argument(help="Version to remove.", show_default=False)],
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Remove one version of MODEL from the store."""
    with one_line_errors(), ExporterClient(address) as client:
        client.delete(model, version)
        if as_json:
            print_json({"model": model, "version": version})
        else:
            results.print(f"deleted version {version} of {model}", highlight=False)


@app.command()
def architectures(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List the architectures that can be built."""
    with one_line_errors(), ExporterClient(address) as client:
        found = client.architectures()
        if as_json:
            print_json([plain(one) for one in found])
        else:
            results.print(tables.architectures_table(found))
