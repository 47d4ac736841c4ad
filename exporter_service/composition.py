"""Builds the exporter service out of its settings, runs it, and ends it in order."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Any

import structlog

from exporter_service.addresses import DEFAULT_METRICS_ADDRESS
from exporter_service.checkpoints.roots import CheckpointRoots
from exporter_service.service.exporter import Exporter
from exporter_service.service.rpc_roles import RPC_ROLES
from exporter_service.service.servicer import SERVICE_NAME, ExporterServicer
from exporter_service.settings import ExporterSettings
from exporter_service.telemetry.metrics import ConversionMetrics
from exporter_service.telemetry.timing import ConversionWatch, Observer
from exporter_service.workers.limits import TaskLimits
from exporter_service.workers.pool import ConversionProcesses
from exporter_service.workers.scratch import sweep_scratch
from exporter_service.workers.spares import SpareProcesses
from pbserve.exporter.v1 import exporter_pb2_grpc
from service_kit.auth.roles import ALWAYS_OPEN, REFLECTION
from service_kit.http.http_port import HttpPort
from service_kit.http.metrics_page import METRICS_PATH, MetricsPage
from service_kit.server.access_log import AccessLog
from service_kit.server.call_counts import CallCounts
from service_kit.server.health import OVERALL
from service_kit.server.listener import Listener
from service_kit.server.process_end import stop_signal
from service_kit.store.artifact_store import ArtifactStore
from service_kit.telemetry.logs import configure_logs
from service_kit.telemetry.tracing import Tracing, tracing_by

_log = structlog.get_logger(__name__)

# What the tasks of all kinds need, so that a spare fits each.
_IMPORTED_AHEAD = (
    "exporter_service.conversion.adopt",
    "exporter_service.conversion.convert",
    "exporter_service.conversion.inspect",
    "exporter_service.parity.proof",
)


class ExporterService:
    """All parts of one process."""

    def __init__(self, settings: ExporterSettings, tracing: Tracing | None = None) -> None:
        """Builds everything; listens to nothing yet, and starts no process.

        Args:
            settings: what the operator wants.
            tracing: where spans go; None: nowhere.

        Raises:
            InvalidRequest: a file of settings cannot be read or is bad.
            StoreUnavailable: there is no such kind of store, or it cannot be made.
        """
        self._settings = settings
        calls = CallCounts("pbexport", {*RPC_ROLES, *ALWAYS_OPEN, *REFLECTION})
        conversions = ConversionMetrics()
        watch = ConversionWatch([conversions, *_conversion_traces(tracing)])
        conversions.running = lambda: watch.running
        self.listener = Listener(
            settings.serving.listening,
            RPC_ROLES,
            [calls, AccessLog(settings.serving.access_log_every)],
            tracing=tracing,
        )
        self.server = self.listener.server
        store = ArtifactStore(settings.store)
        if settings.require_store_mark:
            store.require_mark()
        store.create()
        sweep_scratch()
        self.spares = SpareProcesses(settings.spare_workers, _IMPORTED_AHEAD)
        limited = partial(
            ConversionProcesses,
            spares=self.spares,
            queue_limit=settings.queue_limit,
            task_limits=TaskLimits(
                settings.conversion_timeout_seconds, settings.worker_memory_bytes
            ),
        )
        self.conversions = limited(settings.workers)
        # Of their own, so that a question does not wait behind a conversion.
        self.inspections = limited(1)
        roots = CheckpointRoots(settings.checkpoint_roots, settings.max_checkpoint_bytes)
        exporter = Exporter(store, roots, self.conversions, self.inspections, watch)
        # Typed for servers alone.
        add_servicer: Any = exporter_pb2_grpc.add_ExporterServiceServicer_to_server
        add_servicer(
            ExporterServicer(exporter, caller_conversions=settings.caller_conversions),
            self.server.services,
        )
        self.metrics = MetricsPage(
            "pbexport", [calls, conversions], ready=lambda: self.server.health.is_serving(OVERALL)
        )
        self.http = HttpPort(
            [self.metrics], settings.serving.metrics_address, default=DEFAULT_METRICS_ADDRESS
        )

    async def start(self) -> None:
        """Listens, says so, and becomes ready.

        Raises:
            InvalidRequest: an address cannot be listened on.
        """
        # First: who reads that the service listens must not see it end for another port.
        await self.http.start()
        await self.listener.start("pbexport", [SERVICE_NAME])
        self.http.announce("pbexport", "metrics", METRICS_PATH)
        for name in (OVERALL, SERVICE_NAME):
            await self.server.health.set(name, serving=True)
        # Only now: whoever asks whether the service is up need not wait for TensorFlow.
        await self.spares.start()

    async def drain(self) -> None:
        """Answers what was accepted."""
        await self.server.drain(
            lame_duck_seconds=self._settings.serving.lame_duck_seconds,
            grace_seconds=self._settings.serving.grace_seconds,
        )

    async def close(self) -> None:
        """Ends every process, and the second port."""
        for processes in (self.conversions, self.inspections, self.spares):
            await processes.close()
        await self.http.stop()


async def serve(settings: ExporterSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        PbserveError: the service cannot start: address, store or checkpoint root.
    """
    configure_logs(settings.serving.log_format)
    for root in settings.checkpoint_roots:
        if not root.is_dir():
            _log.warning("checkpoint_root_missing", root=str(root))
    told = stop_signal()
    tracing = tracing_by(os.environ, "pbexport")
    service = ExporterService(settings, tracing)
    watching = asyncio.create_task(service.listener.watch())
    try:
        await service.start()
        await told.wait()
        await service.drain()
    finally:
        watching.cancel()
        await service.close()
        if tracing:
            tracing.close()


def run(settings: ExporterSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        PbserveError: the service cannot start: address, store or checkpoint root.
    """
    asyncio.run(serve(settings))


def _conversion_traces(tracing: Tracing | None) -> list[Observer]:
    if tracing is None:
        return []
    # It needs the extra `otel`.
    from exporter_service.telemetry.trace import ConversionTraces

    return [ConversionTraces(tracing.tracer)]
