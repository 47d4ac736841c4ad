from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from inference_service.loading.counts import HotLoadCounts
from inference_service.loading.hot_load import HotLoader
from inference_service.loading.loader import Loader
from inference_service.loading.model_list import ListedModel
from inference_service.loading.models_file import ModelSettings, ModelsFile
from inference_service.loading.operations import Operations
from inference_service.loading.policy import KEEP_NONE
from inference_service.loading.rules import ModelDefaults, ModelRules
from inference_service.loading.store_view import StoreView
from inference_service.models.health import ModelHealth
from inference_service.models.registry import Registry
from inference_service.models.status import State
from service_kit import errors
from service_kit.server.health import Health
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import MeanEngines
from tests.support.manifests import conversion, graph_file


class Site:
    """A server's parts without a watch: what happens is what operators ask for."""

    def __init__(self, store: ArtifactStore, folder: Path) -> None:
        self.store, self.folder, self.engines = store, folder, MeanEngines()
        self.rules = ModelRules(ModelDefaults(max_batch_size=1))
        self.registry = Registry(self.rules.labels)
        counts = HotLoadCounts()
        self.view = StoreView(store, counts)
        self.hot = HotLoader(
            self.view,
            self.registry,
            Loader(store, self.engines),
            self.rules,
            ModelHealth(Health()),
            counts,
        )
        self.operations = Operations(self.view, self.hot, self.registry, self.rules)

    async def sync(self) -> None:
        assert await self.view.look()
        await self.hot.act()
        await self.hot.settled()

    def publish(self, content: bytes = b"1", model: str = "m") -> int:
        graph = graph_file(self.folder, content)
        return self.store.publish(model, conversion(content), graph).version

    def served(self, model: str = "m") -> list[int]:
        return sorted(self.registry.fingerprints().get(model, {}))


@pytest_asyncio.fixture
async def site(store: ArtifactStore, tmp_path: Path) -> AsyncIterator[Site]:
    one = Site(store, tmp_path)
    yield one
    await one.hot.close()
    assert all(engine.closed for engine in one.engines.made)


async def test_a_store_that_is_not_watched_is_looked_at_when_asked_to(site: Site) -> None:
    site.publish()
    assert site.served() == []
    status = await site.operations.load("m", 0)
    assert (status.version, status.state) == (1, State.AVAILABLE)
    site.publish()
    assert (await site.operations.load("m", 0)).version == 2
    await site.hot.settled()
    assert site.served() == [2]
    # Who asks for what is served gets it at once.
    assert (await site.operations.load("m", 0)).version == 2
    assert len(site.engines.made) == 2


async def test_only_the_model_that_was_asked_for_is_touched(site: Site) -> None:
    site.publish()
    site.publish(model="other")
    await site.operations.load("m", 0)
    assert site.served("other") == []


async def test_a_version_is_served_besides_those_of_the_policy(site: Site) -> None:
    for _ in range(3):
        site.publish()
    await site.operations.load("m", 0)
    assert (await site.operations.load("m", 1)).version == 1
    assert site.served() == [1, 3]
    await site.operations.unload("m", 1)
    assert site.served() == [3]


async def test_a_model_of_which_the_policy_wants_nothing_is_loaded_by_hand(site: Site) -> None:
    site.rules.replace_file(ModelsFile({"m": ModelSettings(keep=KEEP_NONE)}))
    site.publish()
    site.publish()
    assert (await site.operations.load("m", 0)).version == 2
    assert (await site.operations.load("m", 1)).version == 1
    assert site.served() == [1, 2]


async def test_what_was_unloaded_stays_so_until_it_is_asked_for(site: Site) -> None:
    site.publish()
    site.publish()
    await site.operations.load("m", 0)
    await site.operations.unload("m", 2)
    assert site.served() == [1]
    await site.sync()
    assert site.served() == [1]
    await site.operations.unload("m", 0)
    assert site.served() == []
    site.publish()
    await site.sync()
    assert site.served() == []
    assert (await site.operations.load("m", 0)).version == 3
    assert site.served() == [3]


async def test_unloading_waits_for_the_last_request_and_frees_the_memory(site: Site) -> None:
    site.publish()
    await site.operations.load("m", 0)
    with site.registry.lease("m"):
        unloading = asyncio.create_task(site.operations.unload("m", 0))
        while site.served():
            await asyncio.sleep(0)
        assert not unloading.done()
        assert not site.engines.made[0].closed
    await unloading
    assert site.engines.made[0].closed


async def test_a_load_that_fails_says_why_and_what_was_served_still_is(site: Site) -> None:
    site.publish()
    await site.operations.load("m", 0)
    site.publish(b"broken")
    for version in (0, 2):
        with pytest.raises(errors.EngineFailed, match="the graph has no tensor probs:0"):
            await site.operations.load("m", version)
    assert site.served() == [1]
    # Each call tried again, whatever the pace of retries.
    assert len(site.engines.made) == 1


async def test_several_callers_share_one_load(site: Site) -> None:
    site.publish()
    await asyncio.gather(*(site.operations.load("m", 0) for _ in range(5)))
    assert len(site.engines.made) == 1


@pytest.mark.parametrize(
    ("order", "error", "words"),
    [
        (lambda do: do.load("x", 0), errors.ModelNotFound, "the store has no model 'x'"),
        (lambda do: do.load("m", 9), errors.VersionNotFound, "no version 9 of model m; it has 1"),
        (lambda do: do.unload("x", 0), errors.ModelNotFound, "there is no model 'x'"),
        (lambda do: do.unload("m", 9), errors.VersionNotFound, "no version 9; it has 1"),
        (lambda do: do.set_label("m", "A", 1), errors.InvalidRequest, "label 'A' is not allowed"),
        (lambda do: do.set_label("m", "a", 9), errors.VersionNotFound, "no version 9; it has 1"),
        (lambda do: do.set_label("m", "a", 0), errors.LabelNotFound, "no label a to remove"),
    ],
)
async def test_what_does_not_exist_is_answered_with_what_does(
    site: Site, order: Callable[[Operations], object], error: type[Exception], words: str
) -> None:
    site.publish()
    await site.operations.load("m", 0)
    with pytest.raises(error, match=words):
        await order(site.operations)  # type: ignore[misc]
    assert site.served() == [1]


async def test_a_store_that_cannot_be_read_changes_nothing(site: Site) -> None:
    site.publish()
    await site.operations.load("m", 0)
    hidden = Path(site.store.url).rename(site.folder / "hidden")
    with pytest.raises(errors.StoreUnavailable) as caught:
        await site.operations.load("m", 0)
    assert caught.value.retry_after
    assert site.served() == [1]
    hidden.rename(site.store.url)


async def test_a_label_keeps_its_version_and_cannot_be_unloaded_under_it(site: Site) -> None:
    site.publish()
    await site.operations.load("m", 0)
    await site.operations.set_label("m", "stable", 1)
    site.publish()
    await site.operations.load("m", 0)
    assert site.served() == [1, 2]
    with pytest.raises(errors.LabelInUse, match="label stable of model m points at version 1"):
        await site.operations.unload("m", 1)
    # A rollback is a label move.
    await site.operations.set_label("m", "default", 1)
    with site.registry.lease("m") as servable:
        assert servable.version == 1
    await site.operations.set_label("m", "default", 0)
    await site.operations.set_label("m", "stable", 2)
    await site.hot.settled()
    assert site.served() == [2]


async def test_a_version_that_is_being_loaded_is_unloaded_when_it_is_there(site: Site) -> None:
    site.publish()
    site.engines.gate.clear()
    loading = asyncio.create_task(site.operations.load("m", 0))
    assert await asyncio.to_thread(site.engines.reached.wait, 30)
    unloading = asyncio.create_task(site.operations.unload("m", 0))
    await asyncio.sleep(0)
    site.engines.gate.set()
    await unloading
    assert site.served() == []
    with contextlib.suppress(errors.PbserveError):
        await loading


async def test_a_list_of_models_is_served_and_nothing_else(site: Site) -> None:
    for model in ("m", "n"):
        site.publish(model=model)
    await site.operations.load("n", 0)
    await site.operations.configure({"m": ListedModel()})
    assert site.served("m") == [1]
    await site.hot.settled()
    assert site.served("n") == []


async def test_a_list_that_is_refused_changes_nothing(site: Site) -> None:
    site.publish()
    await site.operations.load("m", 0)
    for models, error in (
        ({"x": ListedModel()}, errors.ModelNotFound),
        ({"m": ListedModel(labels={"a": 2})}, errors.LabelTooEarly),
        ({"m": ListedModel(base_path="/elsewhere")}, errors.InvalidRequest),
    ):
        with pytest.raises(error):
            await site.operations.configure(models)
    await site.sync()
    assert site.served() == [1]


async def test_a_list_stays_in_force_when_nobody_waits_any_more(site: Site) -> None:
    for model in ("m", "n"):
        site.publish(model=model)
    await site.operations.load("n", 0)
    site.engines.reached.clear()
    site.engines.gate.clear()
    asking = asyncio.create_task(site.operations.configure({"m": ListedModel()}))
    assert await asyncio.to_thread(site.engines.reached.wait, 30)
    asking.cancel()
    await asyncio.wait([asking])
    site.engines.gate.set()
    await site.hot.settled()
    await site.sync()
    assert (site.served("m"), site.served("n")) == ([1], [])
    # And the next list does not wait for it for ever.
    await site.operations.configure({"n": ListedModel()})
    assert site.served("n") == [1]


async def test_a_list_tries_again_what_failed_before(site: Site) -> None:
    site.publish(b"broken")
    for _ in range(2):
        with pytest.raises(errors.LoadsFailed, match="the graph has no tensor probs:0"):
            await site.operations.configure({"m": ListedModel()})


@pytest.mark.parametrize("version", [0, 1])
async def test_an_unload_that_a_load_takes_back_ends_and_says_so(site: Site, version: int) -> None:
    site.publish()
    site.engines.gate.clear()
    loading = asyncio.create_task(site.operations.load("m", version))
    assert await asyncio.to_thread(site.engines.reached.wait, 30)
    unloading = asyncio.create_task(site.operations.unload("m", version))
    while site.rules.rule("m").wanted([1]):
        await asyncio.sleep(0.001)
    again = asyncio.create_task(site.operations.load("m", version))
    while not site.rules.rule("m").wanted([1]):
        await asyncio.sleep(0.001)
    site.engines.gate.set()
    done = await asyncio.wait_for(
        asyncio.gather(loading, unloading, again, return_exceptions=True), 30
    )
    assert not isinstance(done[2], BaseException)
    assert isinstance(done[1], errors.Superseded)
    assert site.served() == [1]


async def test_a_load_whose_model_is_deleted_meanwhile_says_so(site: Site) -> None:
    site.publish()
    site.engines.gate.clear()
    loading = asyncio.create_task(site.operations.load("m", 0))
    assert await asyncio.to_thread(site.engines.reached.wait, 30)
    site.store.delete("m", 1)
    await site.view.look()
    site.engines.gate.set()
    with pytest.raises(errors.PbserveError):
        await asyncio.wait_for(loading, 30)
    await site.hot.settle()
    assert site.served() == []


async def test_every_change_is_audited_with_its_result(site: Site) -> None:
    site.publish()
    with structlog.testing.capture_logs() as logs:
        await site.operations.load("m", 1)
        await site.operations.set_label("m", "stable", 1)
        with pytest.raises(errors.LabelInUse):
            await site.operations.unload("m", 1)
        await site.operations.set_label("m", "stable", 0)
        await site.operations.unload("m", 1)
        await site.operations.configure({})
    audits = [one for one in logs if one["event"] == "audit"]
    assert [(one["action"], one.get("model"), one["result"]) for one in audits] == [
        ("load", "m", "OK"),
        ("set_label", "m", "OK"),
        ("unload", "m", "LABEL_IN_USE"),
        ("set_label", "m", "OK"),
        ("unload", "m", "OK"),
        ("configure", None, "OK"),
    ]
    assert audits[1]["label"] == "stable"
