"""`pbexport serve`: the service's settings as options and environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter_service.addresses import DEFAULT_ADDRESS, DEFAULT_METRICS_ADDRESS
from exporter_service.settings import ExporterSettings
from service_kit.cli.console import one_line_errors
from service_kit.cli.option_group import by_topic
from service_kit.cli.server_parts import check_installed, server_parts
from service_kit.cli.serving_options import SERVING_TOPICS, serving_options
from service_kit.server.serving_settings import Serving

# A request names files, it does not carry them; manifests of many cards stay far below.
_MAX_MESSAGE_MB = 16
_INSTALL = "install the server: `pip install 'pbserve[server]'`"


_TOPICS = {
    "Store and checkpoints": (
        *("store", "require_store_mark", "checkpoint_root", "max_checkpoint_mb"),
    ),
    "Conversions": (
        *("workers", "spare_workers", "queue_limit", "conversion_timeout", "caller_conversions"),
        "worker_memory",
    ),
    **SERVING_TOPICS,
}


@by_topic(_TOPICS)
@serving_options("PBEXPORT", DEFAULT_ADDRESS, DEFAULT_METRICS_ADDRESS, _MAX_MESSAGE_MB)
def serve(
    serving: Serving,
    store: Annotated[
        str, typer.Option(envvar="PBEXPORT_STORE", help="Artifact store: a path or fsspec URL.")
    ] = "./models",
    require_store_mark: Annotated[
        bool,
        typer.Option(
            "--require-store-mark",
            envvar="PBEXPORT_REQUIRE_STORE_MARK",
            help="Do not start on a folder without .pbserve-store, which may be an empty mount "
            "point.",
        ),
    ] = False,
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
    caller_conversions: Annotated[
        int | None,
        typer.Option(
            envvar="PBEXPORT_CALLER_CONVERSIONS",
            min=1,
            help="Conversions that one caller may have running or waiting.",
            show_default="no limit",
        ),
    ] = None,
    max_checkpoint_mb: Annotated[
        int | None,
        typer.Option(
            envvar="PBEXPORT_MAX_CHECKPOINT_MB",
            min=1,
            help="MiB of one checkpoint's files.",
            show_default="no limit",
        ),
    ] = None,
    worker_memory: Annotated[
        int | None,
        typer.Option(
            envvar="PBEXPORT_WORKER_MEMORY",
            min=1,
            help="MiB that a conversion's process may have, TensorFlow included.",
            show_default="no limit",
        ),
    ] = None,
) -> None:
    """Run the exporter service until SIGTERM or Ctrl-C.

    The environment sets every option as well: PBEXPORT_MAX_CALLS is --max-calls.
    """
    with one_line_errors():
        # The server's imports are not the client's.
        with server_parts(_INSTALL):
            from exporter_service.composition import run

        # The processes of conversions import it, minutes later.
        check_installed("tensorflow", _INSTALL)
        run(
            ExporterSettings(
                serving=serving,
                store=store,
                require_store_mark=require_store_mark,
                checkpoint_roots=tuple(checkpoint_root),
                workers=workers,
                spare_workers=spare_workers,
                queue_limit=queue_limit,
                conversion_timeout_seconds=conversion_timeout or None,
                caller_conversions=caller_conversions,
                max_checkpoint_bytes=None
                if max_checkpoint_mb is None
                else max_checkpoint_mb * 2**20,
                worker_memory_bytes=None if worker_memory is None else worker_memory * 2**20,
            )
        )
