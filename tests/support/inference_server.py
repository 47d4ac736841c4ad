"""The inference service in this process, on a thread of its own, with engines of the test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from inference_service.images.decoders import Decoders
from inference_service.loading.counts import HotLoadCounts
from inference_service.loading.hot_load import HotLoader
from inference_service.loading.loader import Loader
from inference_service.loading.operations import Operations
from inference_service.loading.rules import ModelDefaults, ModelRules
from inference_service.loading.store_view import StoreView
from inference_service.loading.store_watch import Problems
from inference_service.models.health import ModelHealth
from inference_service.models.registry import Registry
from inference_service.prediction.predictor import Predictor
from inference_service.protocols.registration import add_protocols, load_descriptors
from inference_service.protocols.rpc_roles import RPC_ROLES
from inference_service.protocols.shared.core import Core
from inference_service.telemetry.server_metrics import ServerMetrics
from service_kit.address import Address
from service_kit.auth.access import Access, AccessRules
from service_kit.auth.roles import ALWAYS_OPEN, REFLECTION
from service_kit.server.health import OVERALL
from service_kit.server.server import Server
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import MeanEngine, MeanEngines, one_second_a_run
from tests.support.manifests import conversion, graph_file

Result = TypeVar("Result")
_MAX_MESSAGE_BYTES = 2**20


class InferenceServer:
    """What a test may do with a running server."""

    def __init__(self, store: ArtifactStore, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.made = MeanEngines()
        self.address = ""
        self.loop = asyncio.new_event_loop()
        self.rules = ModelRules(ModelDefaults(max_batch_size=4))
        self.registry = Registry(self.rules.labels)
        self.decoders = Decoders(2)
        self.access: AccessRules | None = None
        self.shared_memory = True
        self.server: Server
        self.core: Core
        self.counts = HotLoadCounts()
        self.view = StoreView(store, self.counts)
        self.hot: HotLoader
        self.metrics: ServerMetrics

    @property
    def engines(self) -> list[MeanEngine]:
        """All engines that were made."""
        return self.made.made

    async def start(
        self, window: int, defaults: ModelDefaults, port: int, options: Mapping[str, Any]
    ) -> None:
        self.rules = ModelRules(defaults)
        self.registry = Registry(self.rules.labels)
        access = Access({**RPC_ROLES, **ALWAYS_OPEN, **REFLECTION}, self.access)
        self.metrics = ServerMetrics(self.registry)
        self.server = Server(
            max_message_bytes=_MAX_MESSAGE_BYTES,
            access=access,
            observers=[self.metrics.calls],
            **options,
        )
        self.hot = HotLoader(
            self.view,
            self.registry,
            Loader(self.store, self.made, clock=one_second_a_run()),
            self.rules,
            ModelHealth(self.server.health),
            self.counts,
        )
        self.core = Core(
            predictor=Predictor(self.registry, self.decoders, observers=[self.metrics.requests]),
            registry=self.registry,
            operations=Operations(self.view, self.hot, self.registry, self.rules),
            problems=lambda: Problems("", self.view.problem),
            health=self.server.health,
            streams=self.server.streams,
            stream_window=window,
            max_message_bytes=_MAX_MESSAGE_BYTES,
        )
        services = add_protocols(self.server.services, self.core, shared_memory=self.shared_memory)
        self.server.load_descriptors = load_descriptors
        self.address = str(await self.server.start(Address("127.0.0.1", port), services))
        await self.server.health.set(OVERALL, serving=True)

    async def stop(self) -> None:
        await self.server.drain(lame_duck_seconds=0, grace_seconds=5)
        await self.hot.close()
        self.decoders.close()

    async def begin(self) -> None:
        """Looks at the store, and starts what is to be done."""
        if await self.view.look():
            await self.hot.act()

    async def _sync(self) -> None:
        await self.begin()
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
        self.sync()
        self.sync()
        return version

    @contextlib.contextmanager
    def publishing(self, content: bytes = b"0") -> Iterator[None]:
        """Publishes a version whose load lasts until the block ends."""
        self.made.gate.clear()
        self.store.publish("m", conversion(content), graph_file(self.folder, content))
        self.call(self.begin())
        assert self.made.reached.wait(30)
        try:
            yield
        finally:
            self.made.gate.set()
            self.sync()

    def sync(self) -> None:
        """Looks at the store once, and waits for what comes of it."""
        self.call(self._sync())
        for engine in self.engines:
            engine.forget()


@contextlib.contextmanager
def inference_server(
    store: ArtifactStore,
    folder: Path,
    *,
    window: int = 64,
    queue_images: int = 100,
    defaults: ModelDefaults | None = None,
    port: int = 0,
    access: AccessRules | None = None,
    shared_memory: bool = True,
    server_options: Mapping[str, Any] | None = None,
    engines: MeanEngines | None = None,
) -> Iterator[InferenceServer]:
    """Runs the server until the block ends; `server_options` are those of `Server`."""
    server = InferenceServer(store, folder)
    server.made = engines or server.made
    server.access, server.shared_memory = access, shared_memory
    thread = threading.Thread(target=server.loop.run_forever, daemon=True)
    thread.start()
    limits = defaults or ModelDefaults(max_batch_size=4, queue_images=queue_images)
    server.call(server.start(window, limits, port, server_options or {}))
    try:
        yield server
    finally:
        for engine in server.engines:
            engine.gate.set()
        server.call(server.stop())
        server.loop.call_soon_threadsafe(server.loop.stop)
        thread.join()
        server.loop.close()
