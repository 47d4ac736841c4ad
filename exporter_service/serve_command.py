"""`pbexport serve`: the service's settings as options and environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter_service.options import DEFAULT_ADDRESS
from exporter_service.settings import ExporterSettings
from service_kit.address import parse_address
from service_kit.console import LogFormatOption, one_line_errors


def serve(
    listen: Annotated[
        str, typer.Option(envvar="PBEXPORT_LISTEN", help="Address to listen on; port 0: any.")
    ] = DEFAULT_ADDRESS,
    store: Annotated[
        str, typer.Option(envvar="PBEXPORT_STORE", help="Artifact store: a path or fsspec URL.")
    ] = "./models",
    checkpoint_root: Annotated[
        list[Path],
        typer.Option(
            envvar="PBEXPORT_CHECKPOINT_ROOT",
            help="Folder below which checkpoints may be read; may be repeated.",
        ),
    ] = [Path("./checkpoints")],  # noqa: B006 - typer copies it
    workers: Annotated[
        int,
        typer.Option(envvar="PBEXPORT_WORKERS", min=1, max=64, help="Conversions at a time."),
    ] = 1,
    spare_workers: Annotated[
        int,
        typer.Option(
            envvar="PBEXPORT_SPARE_WORKERS",
            min=0,
            max=64,
            help="Processes that wait with TensorFlow loaded.",
        ),
    ] = 1,
    queue_limit: Annotated[
        int,
        typer.Option(
            envvar="PBEXPORT_QUEUE_LIMIT", min=0, help="Conversions that may wait for a worker."
        ),
    ] = 64,
    conversion_timeout: Annotated[
        float,
        typer.Option(
            envvar="PBEXPORT_CONVERSION_TIMEOUT",
            min=0,
            help="Seconds that a conversion may run; 0: no limit.",
        ),
    ] = 600.0,
    worker_memory: Annotated[
        int | None,
        typer.Option(
            envvar="PBEXPORT_WORKER_MEMORY",
            min=1,
            help="MiB that a conversion's process may have, TensorFlow included.",
            show_default="no limit",
        ),
    ] = None,
    lame_duck: Annotated[
        float,
        typer.Option(
            envvar="PBEXPORT_LAME_DUCK",
            min=0,
            help="Seconds from NOT_SERVING to the end of new calls.",
        ),
    ] = 0.0,
    grace: Annotated[
        float,
        typer.Option(
            envvar="PBEXPORT_GRACE", min=0, help="Seconds for calls in flight at the end."
        ),
    ] = 10.0,
    log_format: Annotated[
        LogFormatOption, typer.Option(envvar="PBEXPORT_LOG_FORMAT", help="Logs on standard error.")
    ] = LogFormatOption.CONSOLE,
) -> None:
    """Run the exporter service until SIGTERM or Ctrl-C."""
    from exporter_service.__main__ import run  # the server's imports are not the client's

    with one_line_errors():
        run(
            ExporterSettings(
                listen=parse_address(listen),
                store=store,
                checkpoint_roots=tuple(checkpoint_root),
                workers=workers,
                spare_workers=spare_workers,
                queue_limit=queue_limit,
                conversion_timeout_seconds=conversion_timeout or None,
                worker_memory_bytes=None if worker_memory is None else worker_memory * 2**20,
                lame_duck_seconds=lame_duck,
                grace_seconds=grace,
                log_format=log_format.value,
            )
        )
