"""Composition root of the exporter service; `pbexport` and `python -m exporter_service`."""

from __future__ import annotations

import asyncio
from functools import partial

from exporter_service.settings import ExporterSettings

# What the tasks of all kinds need, so that a spare fits each.
_IMPORTED_AHEAD = (
    "exporter_service.adoption",
    "exporter_service.conversion",
    "exporter_service.inspection",
    "exporter_service.proof",
)


def run(settings: ExporterSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        PbserveError: the service cannot start: address, store or checkpoint root.
    """
    asyncio.run(_serve(settings))


async def _serve(settings: ExporterSettings) -> None:
    # Only the server needs these; the command line's client starts faster without.
    import structlog

    from exporter_service.checkpoint_roots import CheckpointRoots
    from exporter_service.conversion_process import ConversionProcesses
    from exporter_service.exporter import Exporter
    from exporter_service.scratch import sweep_scratch
    from exporter_service.servicer import SERVICE_NAME, ExporterServicer
    from exporter_service.spare_processes import SpareProcesses
    from exporter_service.task_watch import TaskLimits
    from pbserve.exporter.v1 import exporter_pb2_grpc
    from service_kit.artifact_store import ArtifactStore
    from service_kit.logs import configure_logs
    from service_kit.server import OVERALL, Server, announce, stop_signal

    configure_logs(settings.log_format)
    log = structlog.get_logger(__name__)
    for root in settings.checkpoint_roots:
        if not root.is_dir():
            log.warning("checkpoint_root_missing", root=str(root))
    told = stop_signal()
    store = ArtifactStore(settings.store)
    store.create()
    sweep_scratch()
    task_limits = TaskLimits(settings.conversion_timeout_seconds, settings.worker_memory_bytes)
    spares = SpareProcesses(settings.spare_workers, _IMPORTED_AHEAD)
    limited = partial(
        ConversionProcesses,
        spares=spares,
        queue_limit=settings.queue_limit,
        task_limits=task_limits,
    )
    conversions = limited(settings.workers)
    # Of their own, so that a question does not wait behind a conversion.
    inspections = limited(1)
    roots = CheckpointRoots(settings.checkpoint_roots)
    exporter = Exporter(store, roots, conversions, inspections)
    server = Server(max_message_bytes=settings.max_message_bytes)
    exporter_pb2_grpc.add_ExporterServiceServicer_to_server(ExporterServicer(exporter), server.grpc)
    address = await server.start(settings.listen, [SERVICE_NAME])
    try:
        for name in (OVERALL, SERVICE_NAME):
            await server.health.set(name, serving=True)
        announce("pbexport", address)
        # Only now: whoever asks whether the service is up need not wait for TensorFlow.
        await spares.start()
        await told.wait()
        await server.drain(
            lame_duck_seconds=settings.lame_duck_seconds, grace_seconds=settings.grace_seconds
        )
    finally:
        for processes in (conversions, inspections, spares):
            await processes.close()


def main() -> None:
    """Runs the command line."""
    from exporter_service.cli import app

    app()


if __name__ == "__main__":
    main()
