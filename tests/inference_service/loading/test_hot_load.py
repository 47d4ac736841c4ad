from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inference_service.engine import EngineCard
from inference_service.engine.devices import Device
from inference_service.loading.counts import HotLoadCounts
from inference_service.loading.death_record import change_suspects
from inference_service.loading.hot_load import HotLoader
from inference_service.loading.load_journal import LoadJournal
from inference_service.loading.loader import Loader
from inference_service.loading.models_file import ModelSettings, ModelsFile
from inference_service.loading.policy import KEEP_ALL
from inference_service.loading.quarantine import Suspect
from inference_service.loading.rules import ModelDefaults, ModelRules
from inference_service.loading.store_view import StoreView
from inference_service.models.health import ModelHealth
from inference_service.models.registry import Registry
from inference_service.models.status import State
from service_kit import errors
from service_kit.server.health import Health
from service_kit.store.artifact_store import ArtifactStore
from tests.support.cards import submit
from tests.support.engines import MeanEngine, pixels
from tests.support.manifests import conversion, graph_file


class World:
    """A store, a registry and the hot loader between them, driven step by step."""

    def __init__(self, store: ArtifactStore, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.now, self.health = 0.0, Health()
        self.rules = ModelRules(ModelDefaults(max_batch_size=4))
        self.registry = Registry(self.rules.labels, clock=lambda: self.now)
        self.engines: list[MeanEngine] = []
        self.loads: list[float] = []
        # Loads wait while `held` is cleared.
        self.reached, self.held = threading.Event(), threading.Event()
        self.held.set()
        self.loader = Loader(store, self)
        self.counts = HotLoadCounts()
        self.view = StoreView(store, self.counts)
        self.hot = self.hot_loader()

    def hot_loader(self, **options: Any) -> HotLoader:
        return HotLoader(
            self.view,
            self.registry,
            self.loader,
            self.rules,
            ModelHealth(self.health),
            self.counts,
            clock=lambda: self.now,
            **options,
        )

    def devices(self) -> Sequence[Device]:
        return [Device("cpu", 0)]

    def load(self, graph: bytes, cards: Sequence[EngineCard]) -> MeanEngine:
        self.loads.append(self.now)
        self.reached.set()
        assert self.held.wait(30)
        self.engines.append(MeanEngine(graph, cards))
        return self.engines[-1]

    def publish(self, content: bytes = b"1", model: str = "m") -> int:
        graph = graph_file(self.folder, content)
        return self.store.publish(model, conversion(content), graph).version

    async def begin(self) -> None:
        """Looks at the store, and starts what is to be done."""
        if await self.view.look():
            await self.hot.act()

    async def sync(self) -> None:
        await self.begin()
        await self.hot.settled()

    def states(self, model: str = "m") -> dict[int, State]:
        return {v.version: v.state for v in self.registry.status(model).versions}

    async def serving(self, model: str = "m") -> str:
        from grpc_health.v1 import health_pb2

        check: Any = self.health.servicer.Check
        answer = await check(health_pb2.HealthCheckRequest(service=model), None)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


@pytest_asyncio.fixture
async def world(store: ArtifactStore, tmp_path: Path) -> AsyncIterator[World]:
    one = World(store, tmp_path)
    yield one
    await one.hot.close()
    assert all(engine.closed for engine in one.engines)


async def test_a_published_version_is_served_and_healthy(world: World) -> None:
    await world.sync()
    world.publish()
    await world.sync()
    assert world.states() == {1: State.AVAILABLE}
    assert await world.serving() == "SERVING"


async def test_a_newer_version_takes_over_and_the_old_one_is_freed(world: World) -> None:
    world.publish()
    await world.sync()
    world.publish(b"2")
    await world.sync()
    with world.registry.lease("m") as servable:
        assert servable.version == 2
    await world.sync()
    assert world.states() == {2: State.AVAILABLE}
    assert [engine.closed for engine in world.engines] == [True, False]


async def test_the_old_version_is_not_freed_under_a_request(world: World) -> None:
    world.publish()
    await world.sync()
    with world.registry.lease("m"):
        world.publish(b"2")
        await world.sync()
        await world.begin()
        await asyncio.sleep(0)
        assert world.states() == {1: State.UNLOADING, 2: State.AVAILABLE}
        assert not world.engines[0].closed
    await world.hot.settled()
    assert world.engines[0].closed
    assert world.states() == {2: State.AVAILABLE}


@pytest.mark.parametrize("damage", ["digest", "size", "missing", "manifest"])
async def test_a_damaged_version_is_never_served_and_the_previous_goes_on(
    world: World, damage: str
) -> None:
    world.publish()
    await world.sync()
    world.publish(b"2")
    folder = Path(world.store.url) / "m" / "2"
    if damage == "digest":
        (folder / "frozen_model.pb").write_bytes(b"3")
    elif damage == "size":
        (folder / "frozen_model.pb").write_bytes(b"22")
    elif damage == "missing":
        (folder / "frozen_model.pb").unlink()
    else:
        (folder / "manifest.json").write_text("{")
    for _ in range(2):
        await world.sync()
    assert world.states() == {1: State.AVAILABLE, 2: State.FAILED}
    assert "m/2/" in world.registry.status("m").versions[1].reason
    with world.registry.lease("m") as servable:
        assert servable.version == 1
    assert await world.serving() == "SERVING"
    assert len(world.engines) == 1


async def test_catching_up_does_not_stop_at_a_version_that_does_not_load(world: World) -> None:
    world.publish(b"1")
    world.publish(b"broken")
    world.publish(b"broken")
    await world.view.look()
    await world.hot.settle()
    assert world.states() == {1: State.AVAILABLE, 2: State.FAILED, 3: State.FAILED}


async def test_a_damaged_version_that_is_published_anew_is_served(world: World) -> None:
    world.publish(b"broken")
    await world.sync()
    assert world.states() == {1: State.FAILED}
    assert await world.serving() == "NOT_SERVING"
    with pytest.raises(errors.ModelUnavailable, match="no tensor probs:0"):
        world.registry.lease("m").__enter__()
    world.store.delete("m", 1)
    world.publish(b"1")
    await world.sync()
    assert world.states() == {1: State.AVAILABLE}


async def test_a_version_that_failed_is_forgotten_when_it_is_deleted(world: World) -> None:
    world.publish(b"broken")
    await world.sync()
    assert world.states() == {1: State.FAILED}
    world.store.delete("m", 1)
    await world.sync()
    with pytest.raises(errors.ModelNotFound):
        world.registry.status("m")
    assert await world.serving() == "SERVICE_UNKNOWN"


async def test_a_number_that_is_used_again_is_swapped(world: World) -> None:
    world.publish(b"1")
    await world.sync()
    world.store.delete("m", 1)
    world.publish(b"2")
    await world.sync()
    assert [engine.offset for engine in world.engines] == [1, 2]
    assert [engine.closed for engine in world.engines] == [True, False]
    assert world.states() == {1: State.AVAILABLE}


async def test_a_deleted_version_gives_way_to_the_one_before(world: World) -> None:
    world.publish()
    world.publish(b"2")
    await world.sync()
    world.store.delete("m", 2)
    await world.sync()
    await world.sync()
    assert world.states() == {1: State.AVAILABLE}


async def test_a_deleted_model_is_unknown_afterwards(world: World) -> None:
    world.publish()
    await world.sync()
    world.store.delete("m", 1)
    await world.sync()
    await world.begin()
    with pytest.raises(errors.ModelNotFound):
        world.registry.status("m")
    assert await world.serving() == "SERVICE_UNKNOWN"


async def test_a_store_that_cannot_be_reached_unloads_nothing(world: World) -> None:
    world.publish()
    await world.sync()
    hidden = Path(world.store.url).rename(world.folder / "hidden")
    await world.sync()
    assert world.states() == {1: State.AVAILABLE}
    hidden.rename(world.store.url)
    await world.sync()
    assert world.states() == {1: State.AVAILABLE}


async def test_a_load_that_failed_for_the_store_is_tried_again_later_and_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[float] = []

    def unreadable(model: str, version: int, options: Any, attempt: Any) -> Any:
        attempts.append(world.now)
        raise errors.StoreUnavailable("timeout")

    world.publish()
    monkeypatch.setattr(world.loader, "load", unreadable)
    for now in range(20):
        world.now = float(now)
        await world.sync()
    assert attempts == [0, 1, 3, 7, 15]
    assert world.states() == {1: State.FAILED}
    monkeypatch.undo()
    world.now = 40
    await world.sync()
    assert world.states() == {1: State.AVAILABLE}


async def test_one_bad_model_hurts_no_other(world: World) -> None:
    world.publish(b"broken", model="bad")
    world.publish(model="good")
    await world.sync()
    assert world.states("good") == {1: State.AVAILABLE}
    assert world.states("bad") == {1: State.FAILED}


async def test_a_graph_that_arrives_after_its_manifest_is_served(world: World) -> None:
    world.publish()
    graph = Path(world.store.url) / "m" / "1" / "frozen_model.pb"
    late = graph.rename(world.folder / "late")
    await world.sync()
    assert world.states() == {1: State.FAILED}
    late.rename(graph)
    await world.sync()
    assert world.states() == {1: State.AVAILABLE}


async def test_a_graph_that_does_not_load_is_tried_again_now_and_then(world: World) -> None:
    world.publish(b"broken")
    for now in range(0, 200, 10):
        world.now = float(now)
        await world.sync()
        assert world.states() == {1: State.FAILED}
    assert world.loads == [0, 30, 90]


async def test_a_folder_that_cannot_be_read_unloads_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish()
    await world.sync()
    real = world.store._connection.fs.ls

    def failing(path: str, **options: Any) -> Any:
        if path.endswith("/m"):
            raise OSError(116, "Stale file handle")
        return real(path, **options)

    monkeypatch.setattr(world.store._connection.fs, "ls", failing)
    await world.sync()
    await world.sync()
    assert world.states() == {1: State.AVAILABLE}


async def test_closing_waits_for_no_load_and_begins_no_other(world: World) -> None:
    for number in range(5):
        world.publish(model=f"m{number}")
    world.held.clear()
    await world.begin()
    assert await asyncio.to_thread(world.reached.wait, 30)
    await world.hot.close()
    assert all(world.states(f"m{number}") == {1: State.FAILED} for number in range(5))
    world.held.set()
    assert await world.hot.loads_have_ended()
    assert [engine.closed for engine in world.engines] == [True]


async def test_loads_of_others_do_not_wait_for_one_that_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_service.loading.hot_load._PATIENCE_SECONDS", 0.05)
    world.hot = world.hot_loader()
    world.publish(model="hangs")
    world.held.clear()
    await world.begin()
    assert await asyncio.to_thread(world.reached.wait, 30)
    held, world.held = world.held, threading.Event()
    world.held.set()
    world.publish(model="other")
    await world.begin()
    await world.hot.settled("other")
    assert world.states("other") == {1: State.AVAILABLE}
    assert world.states("hangs") == {1: State.LOADING}
    held.set()
    await world.hot.settled()
    assert world.states("hangs") == {1: State.AVAILABLE}


async def test_a_load_that_is_given_up_has_its_engine_closed_while_it_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TensorFlow does it: closing the engine ends what runs in it."""
    closed = threading.Event()

    def run_until_closed(self: MeanEngine, card: int, inputs: Any) -> Any:
        assert closed.wait(30)
        raise errors.EngineFailed("cancelled")

    monkeypatch.setattr(MeanEngine, "run", run_until_closed)
    monkeypatch.setattr(MeanEngine, "close", lambda self: closed.set())
    world.hot = world.hot_loader(load_seconds=0.2)
    world.publish()
    await world.sync()
    status = world.registry.status("m").versions[0]
    assert status.state is State.FAILED
    assert isinstance(status.error, errors.LoadTimedOut)
    assert await world.hot.loads_have_ended()
    world.engines.clear()


@contextlib.contextmanager
def deaths(world: World, model: str, number: int) -> Iterator[LoadJournal]:
    """A journal that knows of so many servers that died while they loaded version 1 of a model."""
    folder = world.folder / "journal"
    digest = world.store.manifest(model, 1).graph.sha256
    folder.mkdir()
    change_suspects(folder, lambda _: {digest: Suspect(model, 1, number, number, alone=True)})
    journal = world.loader.journal = LoadJournal(folder)
    journal.open()
    yield journal
    journal.close()


async def test_what_a_server_died_of_is_loaded_last(world: World) -> None:
    world.publish(b"1", model="a")
    world.publish(b"2", model="b")
    with deaths(world, "a", 1) as journal:
        await world.sync()
        assert [engine.offset for engine in world.engines] == [2, 1]
        assert not journal.is_suspect("a", 1)


async def test_what_servers_died_of_is_loaded_when_somebody_asks_for_it(world: World) -> None:
    world.publish(b"1", model="a")
    world.publish(b"2", model="b")
    with deaths(world, "a", 2):
        for _ in range(2):
            await world.sync()
        assert world.states("b") == {1: State.AVAILABLE}
        status = world.registry.status("a").versions[0]
        assert isinstance(status.error, errors.Quarantined)
        assert "pbserve load a" in status.reason
        assert await world.serving("a") == "NOT_SERVING"
        await world.hot.try_again("a")
        await world.sync()
        assert world.states("a") == {1: State.AVAILABLE}


async def test_what_servers_died_of_is_loaded_when_it_changes(world: World) -> None:
    world.publish(b"1", model="a")
    with deaths(world, "a", 2):
        await world.sync()
        assert world.states("a") == {1: State.FAILED}
        world.publish(b"2", model="a")
        await world.sync()
        assert world.states("a") == {1: State.FAILED, 2: State.AVAILABLE}


async def test_every_version_is_served_where_the_rules_say_so(world: World) -> None:
    world.rules.replace_file(ModelsFile({"m": ModelSettings(keep=KEEP_ALL)}))
    for content in (b"1", b"2", b"3"):
        world.publish(content)
    await world.sync()
    assert world.states() == dict.fromkeys((1, 2, 3), State.AVAILABLE)
    world.rules.replace_file(ModelsFile())
    await world.sync()
    assert world.states() == {3: State.AVAILABLE}


async def test_a_label_of_the_file_moves_when_its_version_is_served(world: World) -> None:
    labels = {"stable": 1}
    world.rules.replace_file(ModelsFile({"m": ModelSettings(labels=labels)}))
    world.publish()
    await world.sync()
    assert world.rules.labels("m") == {"stable": 1}
    world.publish(b"2")
    world.rules.replace_file(ModelsFile({"m": ModelSettings(labels={"stable": 2})}))
    world.held.clear()
    await world.begin()
    assert world.rules.labels("m") == {"stable": 1}
    with world.registry.lease("m", label="stable") as servable:
        assert servable.version == 1
    world.held.set()
    await world.hot.settled()
    with world.registry.lease("m", label="stable") as servable:
        assert servable.version == 2


async def test_a_labelled_version_outlives_the_policy(world: World) -> None:
    world.publish()
    await world.sync()
    world.rules.set_label("m", "stable", 1)
    world.publish(b"2")
    await world.sync()
    await world.sync()
    assert world.states() == {1: State.AVAILABLE, 2: State.AVAILABLE}
    world.rules.set_label("m", "stable", 2)
    await world.sync()
    assert world.states() == {2: State.AVAILABLE}


async def test_memory_poor_models_unload_first(world: World) -> None:
    world.rules.replace_file(ModelsFile({"m": ModelSettings(unload_first=True)}))
    world.publish()
    await world.sync()
    world.publish(b"2")
    world.held.clear()
    world.reached.clear()
    with world.registry.lease("m"):
        await world.begin()
        await asyncio.sleep(0)
        # While the old one finishes what it has, who comes is told to come back.
        assert world.states() == {1: State.UNLOADING, 2: State.LOADING}
        with pytest.raises(errors.ModelUnavailable, match="version 2 is LOADING"):
            world.registry.lease("m").__enter__()
    assert await asyncio.to_thread(world.reached.wait, 30)
    assert world.engines[0].closed
    assert world.states() == {2: State.LOADING}
    with pytest.raises(errors.ModelUnavailable, match="LOADING"):
        world.registry.lease("m").__enter__()
    world.held.set()
    await world.hot.settled()
    assert world.states() == {2: State.AVAILABLE}


async def test_a_failure_says_when_the_load_is_tried_again(world: World) -> None:
    world.publish(b"broken")
    await world.sync()
    assert world.registry.status("m").versions[0].retry_in == 30
    world.now = 12
    assert world.registry.status("m").versions[0].retry_in == 18


async def test_cards_have_a_health_of_their_own(world: World) -> None:
    world.publish()
    await world.sync()
    assert await world.serving("m/card/0") == "SERVING"
    world.engines[0].broken_cards.add(0)
    with world.registry.lease("m") as servable:
        card = servable.card(0)
        while card.healthy:
            with contextlib.suppress(errors.PbserveError):
                await asyncio.wrap_future(submit(card, {"input": pixels(1)}))
    await world.sync()
    assert await world.serving("m/card/0") == "NOT_SERVING"
    assert await world.serving() == "NOT_SERVING"
    world.store.delete("m", 1)
    await world.sync()
    await world.sync()
    assert await world.serving("m/card/0") == "SERVICE_UNKNOWN"


async def test_a_load_that_hangs_has_failed_after_its_time_and_holds_up_no_other(
    world: World,
) -> None:
    world.hot = hot = world.hot_loader(load_seconds=0.2)
    world.publish()
    world.held.clear()
    await world.begin()
    assert await asyncio.to_thread(world.reached.wait, 30)
    await hot.settled()
    status = world.registry.status("m").versions[0]
    assert status.state is State.FAILED
    assert "took longer than 0.2 s" in status.reason
    assert status.retry_in is None
    # The next load is not to be measured by this machine's speed.
    hot._loading._seconds = None
    held, world.held = world.held, threading.Event()
    world.held.set()
    world.publish(model="other")
    await world.begin()
    await hot.settled()
    assert world.states("other") == {1: State.AVAILABLE}
    # What comes too late is freed.
    held.set()
    while not (len(world.engines) == 2 and world.engines[1].closed):
        await asyncio.sleep(0.001)


async def test_a_version_whose_cards_do_not_start_has_failed_and_is_freed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_threads(*_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("inference_service.loading.hot_load.Servable", no_threads)
    world.publish()
    await world.sync()
    status = world.registry.status("m").versions[0]
    assert (status.state, status.reason) == (State.FAILED, "can't start new thread")
    assert [engine.closed for engine in world.engines] == [True]
    await world.sync()
    assert len(world.engines) == 1
