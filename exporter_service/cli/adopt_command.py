"""`pbexport adopt`: a frozen graph that exists already becomes an artifact."""

from __future__ import annotations

from typing import Annotated

import typer

from exporter_service.cli.artifact_options import (
    Bindings,
    ClassLabels,
    Formats,
    Inputs,
    KeepDropout,
    Outputs,
    ProbeFile,
    Shapes,
    Tolerance,
    Unbatched,
    Version,
    formats_of,
    print_manifest,
)
from exporter_service.cli.connecting import open_client
from exporter_service.cli.options import (
    Json,
    Model,
    Timeout,
    connected,
    probe_of,
    shapes_of,
)
from service_kit.cli.connection_options import ServerChoice
from service_kit.cli.console import one_line_errors
from service_kit.cli.option_values import settings_of


@connected
def adopt(
    model: Model,
    graph: Annotated[str, typer.Option(help="Frozen graph (.pb), a path below a checkpoint root.")],
    input_: Inputs = None,
    output: Outputs = None,
    shape: Shapes = None,
    bind: Bindings = None,
    keep_dropout: KeepDropout = False,
    version: Version = None,
    unbatched: Unbatched = False,
    format_: Formats = None,
    class_labels: ClassLabels = None,
    tolerance: Tolerance = None,
    probe: ProbeFile = None,
    timeout: Timeout = None,
    as_json: Json = False,
    *,
    connection: ServerChoice,
) -> None:
    """Check an existing frozen graph and publish it as the next version of MODEL."""
    # What needs NumPy and protobuf is imported here, so that help starts faster.
    from exporter_service.cli.label_file import read_labels
    from exporter_service.specs.conversion import TOLERANCE, AdoptionRequest

    parameters = {
        "shapes": shapes_of(shape or ()),
        "bindings": settings_of("bind", bind or ()),
        "keep_dropout": keep_dropout,
    }
    with one_line_errors(), open_client(connection) as client:
        request = AdoptionRequest(
            model=model,
            version=version,
            graph=graph,
            inputs=tuple(input_ or ()),
            outputs=tuple(output or ()),
            formats=formats_of(format_),
            tolerance=TOLERANCE if tolerance is None else tolerance,
            probe=probe_of(probe),
            class_labels=read_labels(class_labels),
            unbatched=unbatched,
            parameters={key: value for key, value in parameters.items() if value},
        )
        print_manifest(client.adopt(request, timeout=timeout), as_json=as_json)
