"""Composition root of the inference service; `pbserve` and `python -m inference_service`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from inference_service.settings import InferenceSettings

if TYPE_CHECKING:
    from inference_service.engine import Engine
    from service_kit.manifest import Tower


def run(settings: InferenceSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        PbserveError: the service cannot start: address or store.
    """
    asyncio.run(_serve(settings))


async def _serve(settings: InferenceSettings) -> None:
    # Only the server needs these; the command line's client starts faster without.
    from inference_service.hot_load import HotLoader
    from inference_service.loader import Loader
    from inference_service.predictor import Predictor
    from inference_service.registry import Registry
    from inference_service.servicer import SERVICE_NAME, InferenceServicer
    from pbserve.inference.v1 import inference_pb2_grpc
    from service_kit.artifact_store import ArtifactStore
    from service_kit.logs import configure_logs
    from service_kit.server import OVERALL, Server, announce, stop_signal

    configure_logs(settings.log_format)
    told = stop_signal()
    store = ArtifactStore(settings.store)
    registry = Registry()
    server = Server(max_message_bytes=settings.max_message_bytes)
    loader = Loader(
        store,
        _tensorflow_engine,
        max_batch_size=settings.max_batch_size,
        queue_images=settings.queue_images,
    )
    hot_loader = HotLoader(store, registry, loader, server.health)
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(
        InferenceServicer(
            Predictor(registry),
            registry,
            stream_window=settings.stream_window,
            stop=server.stopping,
        ),
        server.grpc,
    )
    address = await server.start(settings.listen, [SERVICE_NAME])
    announce("pbserve", address)

    async def watch() -> None:
        # Ready when everything known at the start is loaded, or has failed for its own reasons.
        await hot_loader.catch_up()
        for name in (OVERALL, SERVICE_NAME):
            await server.health.set(name, serving=True)
        await hot_loader.watch(settings.poll_seconds)

    watching = asyncio.create_task(watch())
    stopping = asyncio.create_task(told.wait())
    await asyncio.wait([watching, stopping], return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    await server.drain(
        lame_duck_seconds=settings.lame_duck_seconds, grace_seconds=settings.grace_seconds
    )
    await hot_loader.close()
    if not stopping.done():
        # The watch ended by itself, which only a defect can bring about.
        stopping.cancel()
        await watching


def _tensorflow_engine(graph: bytes, towers: Sequence[Tower]) -> Engine:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Takes seconds to import: in the loading thread, after the port is open.
    from inference_service.engine.tensorflow import TensorFlowEngine

    return TensorFlowEngine(graph, towers)


def main() -> None:
    """Runs the command line."""
    from inference_service.cli import app

    app()


if __name__ == "__main__":
    main()
