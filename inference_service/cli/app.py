"""`pbserve`: the inference service and its client on the command line."""

from __future__ import annotations

from inference_service.cli.bench_command import bench
from inference_service.cli.models_command import models, show
from inference_service.cli.operations_command import label, load, unload
from inference_service.cli.predict_command import predict
from inference_service.cli.serve_command import serve
from inference_service.cli.up_command import up
from service_kit.cli.command_group import command_line

app = command_line("Serves frozen graphs from an artifact store and streams predictions.")
for command in (up, serve, predict, models, show, load, unload, label, bench):
    app.command()(command)
