"""What `pbexport convert` and `pbexport adopt` have in common: options, and how they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporter_service.cli.options import Format
from service_kit.cli.console import notices, print_json, results

if TYPE_CHECKING:
    from exporter_service.formats.extra_format import ExtraFormat
    from service_kit.artifacts.manifest import Manifest

# The service's own limit, for an answer before anything is sent.
MAX_TOLERANCE = 0.01
META_PANEL, PROOF_PANEL = "Graphs that exist (META_GRAPH, adopt)", "Proof"


def _check_tolerance(value: float | None) -> float | None:
    # 0 would be the default on the wire.
    if value is not None and not 0 < value <= MAX_TOLERANCE:
        raise typer.BadParameter(f"{value:g} is not above 0 and at most {MAX_TOLERANCE:g}")
    return value


Version = Annotated[int | None, typer.Option(min=1, help="Version; default: the next.")]
Unbatched = Annotated[
    bool,
    typer.Option(
        "--unbatched",
        help="Outputs need not have one row an image: each request runs alone, gets them whole.",
    ),
]
Formats = Annotated[
    list[Format] | None,
    typer.Option("--format", help="Publish this format as well; may be repeated."),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        help="Largest difference that passes, relative; above 0, at most 0.01.",
        callback=_check_tolerance,
        rich_help_panel=PROOF_PANEL,
        show_default="1e-5",
    ),
]
ProbeFile = Annotated[
    Path | None,
    typer.Option(help="Batch to compare on as well: .npy, or .npz by input.",
                 rich_help_panel=PROOF_PANEL),
]  # fmt: skip
ClassLabels = Annotated[
    Path | None,
    typer.Option(help="Text file with the names of the classes, one a line, in order."),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input", help="Tensor to feed: NAME, NAME:PORT or ALIAS=NAME; may be repeated.",
        rich_help_panel=META_PANEL,
    ),
]  # fmt: skip
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "--output", help="Tensor to answer with; may be repeated.", rich_help_panel=META_PANEL
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", help="Dimensions of an input, NAME=-1,N,...", rich_help_panel=META_PANEL
    ),
]
Bindings = Annotated[
    list[str] | None,
    typer.Option(
        "--bind", help="Give a placeholder a value, NAME=VALUE.", rich_help_panel=META_PANEL
    ),
]
KeepDropout = Annotated[
    bool,
    typer.Option(
        "--keep-dropout",
        help="Leave dropouts as they are, for answers that vary.",
        rich_help_panel=META_PANEL,
    ),
]


def formats_of(formats: Sequence[Format] | None) -> tuple[ExtraFormat, ...]:
    """Returns the formats that were asked for."""
    from exporter_service.formats.extra_format import ExtraFormat

    return tuple(ExtraFormat[one.name] for one in formats or ())


def print_manifest(manifest: Manifest, *, as_json: bool) -> None:
    """Prints what was published, and its warnings on standard error."""
    from exporter_service.cli import tables

    if as_json:
        described: Mapping[str, Any] = tables.manifest_values(manifest)
        print_json(described)
    else:
        results.print(tables.manifest_table(manifest))
    for line in manifest.warnings:
        notices.print(f"warning: {line}", markup=False, highlight=False)
