"""Composition root of the inference service; `pbserve` and `python -m inference_service`."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference_service.settings import InferenceSettings


def run(settings: InferenceSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        PbserveError: the service cannot start: address, models file or devices.
    """
    asyncio.run(_serve(settings))


# Seconds after which Python lets another thread run. A request changes threads several times, and
# each time it would wait for as long as Python's own 0.005 while a graph is being imported.
_SWITCH_SECONDS = 0.0001


async def _serve(settings: InferenceSettings) -> None:
    # Only the server needs these; the command line's client starts faster without.
    from inference_service.core import Core
    from inference_service.cores import usable_cores
    from inference_service.engine.lazy import LazyEngines
    from inference_service.hot_load import HotLoader
    from inference_service.loader import Loader
    from inference_service.model_health import ModelHealth
    from inference_service.model_rules import ModelRules
    from inference_service.models_file import EMPTY
    from inference_service.models_file_watch import ModelsFileWatch
    from inference_service.operations import Operations
    from inference_service.predictor import Predictor
    from inference_service.protocols import add_protocols
    from inference_service.registry import Registry
    from inference_service.store_watch import StoreWatch
    from service_kit.artifact_store import ArtifactStore
    from service_kit.logs import configure_logs
    from service_kit.server import OVERALL, Server, announce, stop_signal

    configure_logs(settings.log_format)
    sys.setswitchinterval(_SWITCH_SECONDS)
    told = stop_signal()
    cores = usable_cores()
    models_file = ModelsFileWatch(settings.models_file) if settings.models_file else None
    rules = ModelRules(settings.models, models_file.load() if models_file else EMPTY)
    store = ArtifactStore(settings.store)
    registry = Registry(rules.labels)
    server = Server(max_message_bytes=settings.max_message_bytes)
    engines = LazyEngines(
        settings.devices,
        cores=cores,
        threads=settings.intra_op_threads,
        gpu_memory_bytes=settings.gpu_memory_bytes,
    )
    loader = Loader(store, engines)
    hot_loader = HotLoader(store, registry, loader, rules, ModelHealth(server.health))
    watch = StoreWatch(
        hot_loader,
        registry,
        rules,
        models_file,
        store_is_watched=settings.watch,
        strict=settings.strict_readiness,
    )
    decoders = ThreadPoolExecutor(cores, thread_name_prefix="decode")
    core = Core(
        predictor=Predictor(registry, decoders),
        registry=registry,
        operations=Operations(hot_loader, registry, rules),
        problems=watch.problems,
        health=server.health,
        streams=server.streams,
        stream_window=settings.stream_window,
    )
    services = add_protocols(server.grpc, core)
    address = await server.start(settings.listen, services)
    announce("pbserve", address)

    async def become_ready() -> None:
        for name in (OVERALL, *services):
            await server.health.set(name, serving=True)

    watching = asyncio.create_task(watch.watch(settings.poll_seconds, become_ready))
    stopping = asyncio.create_task(told.wait())
    await asyncio.wait([watching, stopping], return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    await server.drain(
        lame_duck_seconds=settings.lame_duck_seconds, grace_seconds=settings.grace_seconds
    )
    await hot_loader.close()
    decoders.shutdown(wait=False, cancel_futures=True)
    if not stopping.done():
        # The watch ended by itself, which only a defect can bring about.
        stopping.cancel()
        await watching


def main() -> None:
    """Runs the command line."""
    from inference_service.cli import app

    app()


if __name__ == "__main__":
    main()
