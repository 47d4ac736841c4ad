"""`pbserve`: the inference service and its client on the command line."""

from __future__ import annotations

from inference_service.bench_command import bench
from inference_service.models_command import models, show
from inference_service.operations_command import label, load, unload
from inference_service.predict_command import predict
from inference_service.serve_command import serve
from service_kit.command_group import command_line

app = command_line("Serves frozen graphs from an artifact store and streams predictions.")
for command in (serve, predict, models, show, load, unload, label, bench):
    app.command()(command)
