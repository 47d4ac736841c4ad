from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inference_service.engine import EngineCard
from inference_service.loading.counts import HotLoadCounts
from inference_service.loading.hot_load import HotLoader
from inference_service.loading.loader import Loader
from inference_service.loading.models_file import parse_models_file
from inference_service.loading.rules import ModelDefaults, ModelRules
from inference_service.loading.store_pace import StorePace
from inference_service.loading.store_view import StoreView
from inference_service.loading.store_watch import StoreWatch
from inference_service.models.health import ModelHealth
from inference_service.models.registry import Registry
from service_kit import errors
from service_kit.files.watched_file import WatchedFile
from service_kit.server.health import Health
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import MeanEngine, MeanEngines
from tests.support.manifests import conversion, graph_file


class Site:
    """A server's parts with a watch over a store and a models file."""

    def __init__(
        self, store: ArtifactStore, folder: Path, engines: MeanEngines | None = None
    ) -> None:
        self.store, self.folder, self.engines = store, folder, engines or MeanEngines()
        self.rules = ModelRules(ModelDefaults(max_batch_size=1))
        self.registry = Registry(self.rules.labels)
        loader, counts = Loader(store, self.engines), HotLoadCounts()
        self.view = StoreView(store, counts)
        self.hot = HotLoader(
            self.view, self.registry, loader, self.rules, ModelHealth(Health()), counts
        )
        self.ready = asyncio.Event()
        self.models_file = folder / "models.yaml"
        self._times = iter(range(10**9, 2 * 10**9))
        self.write("models:")
        self._watching: list[asyncio.Task[None]] = []

    def watch(self, *, strict: bool = False, store_is_watched: bool = True) -> StoreWatch:
        file = WatchedFile(self.models_file, parse_models_file, "models file")
        self.rules.replace_file(file.load())
        return StoreWatch(
            self.view,
            self.hot,
            self.registry,
            self.rules,
            file,
            store_is_watched=store_is_watched,
            strict=strict,
        )

    def start(self, **options: Any) -> StoreWatch:
        async def become_ready() -> None:
            self.ready.set()

        watch = self.watch(**options)
        self._watching.append(asyncio.create_task(watch.watch(0.001, become_ready)))
        return watch

    def write(self, text: str) -> None:
        # In one step: the watch looks every millisecond, also while a file is written.
        new = self.folder / "models.yaml.new"
        new.write_text(text)
        now = next(self._times)
        os.utime(new, (now, now))
        new.replace(self.models_file)

    def publish(self, content: bytes = b"1", model: str = "m") -> int:
        graph = graph_file(self.folder, content)
        return self.store.publish(model, conversion(content), graph).version

    def served(self, model: str = "m") -> list[int]:
        return sorted(self.registry.fingerprints().get(model, {}))

    async def until_served(self, *versions: int, model: str = "m") -> None:
        while self.served(model) != list(versions):
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        for one in self._watching:
            one.cancel()
        await self.hot.close()


@pytest_asyncio.fixture
async def site(store: ArtifactStore, tmp_path: Path) -> AsyncIterator[Site]:
    one = Site(store, tmp_path)
    yield one
    await one.close()


async def test_watching_follows_the_store(site: Site) -> None:
    site.start()
    site.publish()
    await site.until_served(1)
    shutil.rmtree(Path(site.store.url) / "m")
    await site.until_served()


async def test_until_the_store_is_read_nobody_is_told_that_there_is_no_such_model(
    site: Site,
) -> None:
    watch = site.watch()
    hidden = Path(site.store.url).rename(site.folder / "hidden")
    await watch.look()
    with pytest.raises(errors.ModelUnavailable, match="not read its store yet") as caught:
        site.registry.lease("m").__enter__()
    assert caught.value.retry_after
    hidden.rename(site.store.url)
    watch = site.watch()
    await watch.look()
    with pytest.raises(errors.ModelNotFound):
        site.registry.lease("m").__enter__()


async def test_a_load_that_hangs_at_the_start_keeps_no_other_model_from_being_seen(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_service.loading.hot_load._PATIENCE_SECONDS", 0.01)

    class HeldEngines(MeanEngines):
        def load(self, graph: bytes, cards: Sequence[EngineCard]) -> MeanEngine:
            return super().load(graph, cards) if graph == b"7" else MeanEngine(graph, cards)

    site = Site(store, tmp_path, HeldEngines())
    site.publish(b"7", model="hangs")
    site.engines.gate.clear()
    site.start()
    assert await asyncio.to_thread(site.engines.reached.wait, 30)
    site.publish(b"1", model="other")
    await site.until_served(1, model="other")
    assert not site.ready.is_set()
    site.engines.gate.set()
    await asyncio.wait_for(site.ready.wait(), 30)
    assert site.served("hangs") == [1]
    await site.close()


async def test_ready_is_when_every_model_known_at_the_start_is_served_or_has_failed(
    site: Site,
) -> None:
    site.publish()
    site.publish(b"broken", model="bad")
    site.engines.gate.clear()
    site.start()
    assert await asyncio.to_thread(site.engines.reached.wait, 30)
    assert not site.ready.is_set()
    site.engines.gate.set()
    await asyncio.wait_for(site.ready.wait(), 30)
    assert site.served() == [1]
    assert site.served("bad") == []


async def test_an_empty_store_is_ready(site: Site) -> None:
    site.start()
    await asyncio.wait_for(site.ready.wait(), 30)


async def test_strict_readiness_waits_for_what_has_failed(site: Site) -> None:
    site.publish(b"broken")
    watch = site.start(strict=True)
    while not site.registry.loads.waiting():
        await asyncio.sleep(0.001)
    for _ in range(5):
        await watch.look()
        await asyncio.sleep(0.005)
    assert not site.ready.is_set()
    site.store.delete("m", 1)
    await asyncio.wait_for(site.ready.wait(), 30)


async def test_not_ready_while_the_store_has_never_been_read(site: Site) -> None:
    hidden = Path(site.store.url).rename(site.folder / "hidden")
    watch = site.start()
    while not watch.problems().store:
        await asyncio.sleep(0.001)
    assert not site.ready.is_set()
    hidden.rename(site.store.url)
    await asyncio.wait_for(site.ready.wait(), 30)
    assert watch.problems().store == ""


async def test_watching_survives_what_nobody_thought_of(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Semaphore(0)

    def broken() -> Any:
        looked.release()
        raise ZeroDivisionError

    monkeypatch.setattr(site.store, "published", broken)
    site.start()
    for _ in range(3):
        assert await asyncio.to_thread(looked.acquire, timeout=30)
    monkeypatch.undo()
    site.publish()
    await site.until_served(1)


async def test_the_models_file_is_read_again_and_a_bad_one_changes_nothing(site: Site) -> None:
    site.publish()
    site.publish()
    watch = site.start()
    await site.until_served(2)
    site.write("models: {m: {versions: all, batch_limit: 3, labels: {stable: 1}}}")
    await site.until_served(1, 2)
    with site.registry.lease("m", label="stable") as servable:
        assert servable.version == 1
    # Versions that are served already have the new limits, too.
    with site.registry.lease("m", version=2) as servable:
        assert servable.card(0).limits.batch == 3
    site.write("models: {m: {versions: newest}}")
    while not watch.problems().models_file:
        await asyncio.sleep(0.001)
    assert "models.m.versions: write latest N, all, none" in watch.problems().models_file
    assert site.served() == [1, 2]
    site.write("models: {m: {versions: [1]}}")
    await site.until_served(1)
    assert watch.problems().models_file == ""


async def test_a_store_that_is_not_watched_is_looked_at_once(site: Site) -> None:
    site.publish()
    watch = site.start(store_is_watched=False)
    await asyncio.wait_for(site.ready.wait(), 30)
    assert site.served() == [1]
    site.publish()
    for _ in range(3):
        await watch.look()
        await site.hot.settled()
    assert site.served() == [1]


async def test_a_store_that_cannot_be_reached_is_asked_less_and_less(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish()
    now, asked = 0.0, []
    watch = StoreWatch(
        site.view,
        site.hot,
        site.registry,
        site.rules,
        None,
        store_is_watched=True,
        strict=False,
        pace=StorePace(lambda: 0.5),
        clock=lambda: now,
    )
    await watch.look()
    await site.hot.settled()
    real = site.store.published

    def unreachable() -> Any:
        asked.append(now)
        raise errors.StoreUnavailable("no answer")

    monkeypatch.setattr(site.store, "published", unreachable)
    while now < 70:
        await watch.look()
        now += 1
    assert asked == [0, 2, 6, 14, 30, 62]
    assert site.served() == [1]
    assert watch.problems().store == "no answer"
    monkeypatch.setattr(site.store, "published", real)
    while now <= 122:
        assert watch.problems().store
        await watch.look()
        now += 1
    assert watch.problems().store == ""
