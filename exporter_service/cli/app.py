"""`pbexport`: the exporter service and its client on the command line."""

from __future__ import annotations

from exporter_service.cli.adopt_command import adopt
from exporter_service.cli.artifact_command import delete, list_artifacts, verify
from exporter_service.cli.convert_command import convert
from exporter_service.cli.inspect_command import architectures, inspect
from exporter_service.cli.serve_command import serve
from service_kit.cli.command_group import command_line

app = command_line(
    "Turns TensorFlow 1 training checkpoints into frozen graphs that pbserve serves."
)
for command in (serve, convert, adopt, inspect, verify):
    app.command()(command)
app.command(name="list")(list_artifacts)
for command in (delete, architectures):
    app.command()(command)
