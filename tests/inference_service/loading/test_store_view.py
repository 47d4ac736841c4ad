from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog

from inference_service.loading.counts import HotLoadCounts
from inference_service.loading.store_view import StoreView
from inference_service.models.publication import Publication
from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.local_mark import MARK
from tests.support.manifests import conversion, graph_file


class Site:
    """A store and what is known of it."""

    def __init__(self, store: ArtifactStore, folder: Path) -> None:
        self.store, self.folder, self.counts = store, folder, HotLoadCounts()
        self.view = StoreView(store, self.counts)

    def publish(self, model: str = "m") -> None:
        self.store.publish(model, conversion(b"1"), graph_file(self.folder, b"1"))


@pytest.fixture
def site(store: ArtifactStore, tmp_path: Path) -> Site:
    return Site(store, tmp_path)


async def test_a_look_shows_what_the_store_has(site: Site) -> None:
    site.publish()
    assert site.view.published == {}
    assert await site.view.look()
    assert site.view.published == site.store.published()
    one = site.view.publication("m", 1)
    assert one == Publication("m", 1, site.store.published()["m"][1])
    assert [*site.view.publications()] == [one]
    assert site.view.publication("m", 2) == Publication("m", 2, "")
    assert site.view.url == site.store.url


async def test_a_look_at_one_model_leaves_the_others(site: Site) -> None:
    site.publish("a")
    await site.view.look()
    site.publish("a")
    site.publish("b")
    await site.view.look("b")
    assert {model: [*versions] for model, versions in site.view.published.items()} == {
        "a": [1],
        "b": [1],
    }
    site.store.delete("b", 1)
    await site.view.look("b")
    assert [*site.view.published] == ["a"]


async def test_a_store_that_cannot_be_reached_changes_nothing_and_says_so_once(site: Site) -> None:
    site.publish()
    await site.view.look()
    before = dict(site.view.published)
    hidden = Path(site.store.url).rename(site.folder / "hidden")
    with structlog.testing.capture_logs() as logs:
        assert [await site.view.look() for _ in range(2)] == [False, False]
        assert "models" in site.view.problem
        assert site.view.published == before
        hidden.rename(site.store.url)
        assert await site.view.look()
    assert [one["event"] for one in logs] == ["store_unavailable", "store_available"]
    assert site.view.problem == ""
    assert (site.counts.looks, site.counts.failed_looks) == (4, 2)


async def test_a_listing_that_is_overtaken_changes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish()
    read, listed, release = site.store.published, threading.Event(), threading.Event()

    def slow() -> Any:
        found = read()
        listed.set()
        assert release.wait(30)
        return found

    monkeypatch.setattr(site.store, "published", slow)
    older = asyncio.create_task(site.view.look())
    assert await asyncio.to_thread(listed.wait, 30)
    monkeypatch.undo()
    site.publish()
    assert await site.view.look()
    release.set()
    assert await older
    assert set(site.view.published["m"]) == {1, 2}


async def test_a_folder_that_may_be_a_mount_point_is_told_once(site: Site) -> None:
    (Path(site.store.url) / MARK).unlink()
    view = StoreView(ArtifactStore(site.store.url), site.counts)
    with structlog.testing.capture_logs() as logs:
        assert [await view.look() for _ in range(2)] == [True, True]
    assert "mount its volume" in view.mark_problem
    assert [one["event"] for one in logs] == ["store_unmarked"]
    site.store.create()
    await view.look()
    assert view.mark_problem == ""
