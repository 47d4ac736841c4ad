"""The inference service in this process, on a thread of its own, with engines of the test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from inference_service.hot_load import HotLoader
from inference_service.loader import Loader
from inference_service.predictor import Predictor
from inference_service.registry import Registry
from inference_service.servicer import SERVICE_NAME, InferenceServicer
from pbserve.inference.v1 import inference_pb2_grpc
from service_kit.address import Address
from service_kit.artifact_store import ArtifactStore
from service_kit.manifest import Tower
from service_kit.server import OVERALL, Server
from tests.support.engines import MeanEngine
from tests.support.manifests import conversion, graph_file

Result = TypeVar("Result")


class InferenceServer:
    """What a test may do with a running server."""

    def __init__(self, store: ArtifactStore, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.engines: list[MeanEngine] = []
        self.address = ""
        self.loop = asyncio.new_event_loop()
        self.registry = Registry()
        self.server: Server
        self.hot: HotLoader

    def _engine(self, graph: bytes, towers: Sequence[Tower]) -> MeanEngine:
        self.engines.append(MeanEngine(graph, towers))
        return self.engines[-1]

    async def start(self, window: int, queue_images: int) -> None:
        self.server = Server(max_message_bytes=2**20)
        loader = Loader(self.store, self._engine, max_batch_size=4, queue_images=queue_images)
        self.hot = HotLoader(self.store, self.registry, loader, self.server.health)
        servicer = InferenceServicer(
            Predictor(self.registry),
            self.registry,
            stream_window=window,
            stop=self.server.stopping,
        )
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, self.server.grpc)
        self.address = str(await self.server.start(Address("127.0.0.1", 0), [SERVICE_NAME]))
        await self.server.health.set(OVERALL, serving=True)

    async def stop(self) -> None:
        await self.server.drain(lame_duck_seconds=0, grace_seconds=5)
        await self.hot.close()

    async def _sync(self) -> None:
        await self.hot.sync()
        await self.hot.settled()

    def call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def on_loop(self, work: Callable[[], Result]) -> Result:
        async def run() -> Result:
            return work()

        return self.call(run())

    def publish(self, content: bytes = b"0", model: str = "m", cards: int = 2) -> int:
        """Publishes a graph whose engine adds the number in `content` to the mean."""
        graph = graph_file(self.folder, content)
        version = self.store.publish(model, conversion(content, cards), graph).version
        self.call(self._sync())
        self.call(self._sync())
        return version


@contextlib.contextmanager
def inference_server(
    store: ArtifactStore, folder: Path, *, window: int = 64, queue_images: int = 100
) -> Iterator[InferenceServer]:
    """Runs the server until the block ends."""
    server = InferenceServer(store, folder)
    thread = threading.Thread(target=server.loop.run_forever, daemon=True)
    thread.start()
    server.call(server.start(window, queue_images))
    try:
        yield server
    finally:
        for engine in server.engines:
            engine.gate.set()
        server.call(server.stop())
        server.loop.call_soon_threadsafe(server.loop.stop)
        thread.join()
        server.loop.close()
