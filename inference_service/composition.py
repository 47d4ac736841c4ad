"""Builds the inference service out of its settings, runs it, and ends it in order."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import uvloop

from inference_service.engine.cpu_quota import usable_cores
from inference_service.engine.lazy import LazyEngines
from inference_service.images.decoders import Decoders
from inference_service.loading.counts import HotLoadCounts
from inference_service.loading.hot_load import HotLoader
from inference_service.loading.load_journal import (
    LoadJournal,
    default_state_folder,
    journal_folder,
)
from inference_service.loading.loader import Loader
from inference_service.loading.models_file import EMPTY, ModelsFile, parse_models_file
from inference_service.loading.operations import Operations
from inference_service.loading.rules import ModelRules
from inference_service.loading.store_view import StoreView
from inference_service.loading.store_watch import StoreWatch
from inference_service.models.health import ModelHealth
from inference_service.models.registry import Registry
from inference_service.models.watchdog import watch_runs
from inference_service.prediction.predictor import Predictor
from inference_service.protocols.registration import add_protocols, load_descriptors
from inference_service.protocols.rpc_roles import RPC_ROLES
from inference_service.protocols.shared.core import Core
from inference_service.settings import InferenceSettings
from inference_service.status_page.port import HttpPort
from inference_service.telemetry.server_metrics import ServerMetrics
from service_kit.files.watched_file import WatchedFile
from service_kit.server.access_log import AccessLog
from service_kit.server.health import OVERALL
from service_kit.server.listener import Listener
from service_kit.server.process_end import end_at_last, end_despite, stop_signal
from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.cache import StoreCache, default_cache_folder
from service_kit.store.connection import is_object_store
from service_kit.telemetry.logs import configure_logs
from service_kit.telemetry.tracing import Tracing, tracing_by

if TYPE_CHECKING:
    from inference_service.telemetry.request_trace import RequestTraces

# After the last call: for freeing models, and sending the last spans.
_LAST_SECONDS = 8.0


class InferenceService:
    """All parts of one process."""

    def __init__(self, settings: InferenceSettings, tracing: Tracing | None = None) -> None:
        """Builds everything; listens to nothing yet, and loads nothing.

        Args:
            settings: what the operator wants.
            tracing: where spans go; None: nowhere.

        Raises:
            InvalidRequest: a file of settings cannot be read or is bad.
            StoreUnavailable: there is no such kind of store, or it lacks a mark that is required.
        """
        self._settings = settings
        cores = usable_cores()
        models_file = _models_file(settings)
        rules = ModelRules(settings.models, models_file.load() if models_file else EMPTY)
        store = ArtifactStore(settings.store, cache=_store_cache(settings))
        if settings.require_store_mark:
            store.require_mark()
        registry = Registry(rules.labels)
        metrics = ServerMetrics(registry)
        self.listener = Listener(
            settings.serving.listening,
            RPC_ROLES,
            [metrics.calls, AccessLog(settings.serving.access_log_every)],
            tracing=tracing,
        )
        self.server = self.listener.server
        engines = LazyEngines(
            settings.devices,
            cores=cores,
            threads=settings.intra_op_threads,
            gpu_memory_bytes=settings.gpu_memory_bytes,
            allowed_ops=settings.allowed_ops,
        )
        state = settings.state or default_state_folder()
        self.journal = LoadJournal(journal_folder(state, settings.store))
        self.model_health = ModelHealth(self.server.health)
        counts = HotLoadCounts()
        view = StoreView(store, counts)
        self.hot_loader = HotLoader(
            view,
            registry,
            Loader(store, engines, self.journal),
            rules,
            self.model_health,
            counts,
            load_seconds=settings.load_seconds,
        )
        self.watch = StoreWatch(
            view,
            self.hot_loader,
            registry,
            rules,
            models_file,
            store_is_watched=settings.watch,
            strict=settings.strict_readiness,
        )
        self.decoders = Decoders(cores)
        traces = _request_traces(tracing)
        self.core = Core(
            predictor=Predictor(
                registry,
                self.decoders,
                max_request_images=settings.max_request_images,
                observers=[metrics.requests, *([traces] if traces else [])],
                begin_trace=traces.begin if traces else None,
            ),
            registry=registry,
            operations=Operations(view, self.hot_loader, registry, rules),
            problems=self.watch.problems,
            health=self.server.health,
            streams=self.server.streams,
            stream_window=settings.stream_window,
            max_message_bytes=settings.serving.listening.max_message_bytes,
        )
        self.services = add_protocols(
            self.server.services,
            self.core,
            shared_memory=settings.shared_memory and settings.serving.listening.address.is_loopback,
        )
        self.server.load_descriptors = load_descriptors
        page = metrics.page(self.core, counts)
        self.http = HttpPort(settings, self.core, cores=cores, others=[page])

    async def become_ready(self) -> None:
        """Tells health that requests may come."""
        for name in (OVERALL, *self.services):
            await self.server.health.set(name, serving=True)

    async def end(self) -> None:
        """Answers what was accepted, then frees everything."""
        serving = self._settings.serving
        end_at_last(serving.lame_duck_seconds + serving.grace_seconds + _LAST_SECONDS)
        # Whatever happens from here on, it is not the fault of what is being loaded.
        self.journal.close()
        self.hot_loader.stop_loading()
        await self.server.drain(
            lame_duck_seconds=serving.lame_duck_seconds, grace_seconds=serving.grace_seconds
        )
        await self.http.stop()
        await self.hot_loader.close()
        self.decoders.close()


async def serve(settings: InferenceSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        PbserveError: the service cannot start: address, files, store or devices.
    """
    configure_logs(settings.serving.log_format)
    told = stop_signal()
    tracing = tracing_by(os.environ, "pbserve")
    service = InferenceService(settings, tracing)
    service.journal.open()
    # First: who reads that the service listens must not see it end for another port.
    await service.http.start()
    await service.listener.start("pbserve", service.services)
    service.http.announce_pages()
    watching = asyncio.create_task(service.watch.watch(settings.poll_seconds, service.become_ready))
    others = [
        asyncio.create_task(service.listener.watch()),
        asyncio.create_task(watch_runs(service.core.registry, service.model_health)),
    ]
    stopping = asyncio.create_task(told.wait())
    await asyncio.wait([watching, stopping], return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    await service.end()
    if tracing:
        tracing.close()
    for one in others:
        one.cancel()
    await end_despite(service.hot_loader.loads_have_ended)
    if not stopping.done():
        # The watch ended by itself, which only a defect can bring about.
        stopping.cancel()
        await watching


def run(settings: InferenceSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        PbserveError: the service cannot start: address, files, store or devices.
    """
    # Measured: a fifth more requests a second than asyncio's own loop.
    uvloop.run(serve(settings))


def _models_file(settings: InferenceSettings) -> WatchedFile[ModelsFile] | None:
    if settings.models_file is None:
        return None
    return WatchedFile(settings.models_file, parse_models_file, "models file")


def _request_traces(tracing: Tracing | None) -> RequestTraces | None:
    if tracing is None:
        return None
    # It needs the extra `otel`.
    from inference_service.telemetry.request_trace import RequestTraces

    return RequestTraces(tracing.tracer)


def _store_cache(settings: InferenceSettings) -> StoreCache | None:
    if not is_object_store(settings.store):
        # What is on disk needs no second copy there.
        return None
    return StoreCache(settings.store_cache or default_cache_folder(), settings.store_cache_bytes)
