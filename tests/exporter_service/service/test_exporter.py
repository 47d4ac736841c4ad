from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from exporter_service.checkpoints.roots import CheckpointRoots
from exporter_service.service.exporter import Exporter
from exporter_service.specs.progress import Progress, Report, Step
from exporter_service.workers.pool import ConversionProcesses, Task
from service_kit import errors
from service_kit.artifacts.manifest import Manifest
from service_kit.store.artifact_store import ArtifactStore
from tests.support.digits import GOLDEN, digits_request
from tests.support.manifests import conversion, graph_file


class InstantProcesses(ConversionProcesses):
    """Conversions without TensorFlow: the graph is there at once, or when the test says so."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    @contextlib.asynccontextmanager
    async def place(self, report: Report) -> AsyncIterator[Callable[[Task], Awaitable[Any]]]:
        async def run(task: Task) -> Any:
            self.begun.set()
            await self.go.wait()
            if task.entry.endswith("prove"):
                return conversion().parity
            graph_file(task.arguments[1])
            return conversion()

        yield run


class HeldStore(ArtifactStore):
    """Publishes when the test says so."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reached, self.go = threading.Event(), threading.Event()

    def publish(self, *arguments: Any) -> Manifest:
        self.reached.set()
        assert self.go.wait(30)
        return super().publish(*arguments)


async def test_a_publication_that_nobody_waits_for_is_taken_back(tmp_path: Path) -> None:
    store = HeldStore(str(tmp_path / "models"))
    store.create()
    processes = InstantProcesses(1)
    exporter = Exporter(store, CheckpointRoots([GOLDEN]), processes, processes)
    events = exporter.convert(digits_request(model="m"))
    event = await events.__anext__()
    assert isinstance(event, Progress)
    assert event.step is Step.PUBLISH
    assert await asyncio.to_thread(store.reached.wait, 30)
    leaving = asyncio.create_task(events.aclose())
    await asyncio.sleep(0)
    assert not leaving.done()
    store.go.set()
    await leaving
    assert store.published() == {}
    await processes.close()


async def answers_of(exporter: Exporter, **changes: Any) -> list[Progress | Manifest]:
    return [event async for event in exporter.convert(digits_request(model="m", **changes))]


async def test_a_request_id_gives_one_artifact_however_often_it_is_sent(
    store: ArtifactStore,
) -> None:
    processes = InstantProcesses(1)
    exporter = Exporter(store, CheckpointRoots([GOLDEN]), processes, processes)
    first = await answers_of(exporter, request_id="once")
    again = await answers_of(exporter, request_id="once")
    assert again == first[-1:]
    other = await answers_of(exporter, request_id="twice")
    assert isinstance(other[-1], Manifest)
    assert other[-1].version == 2
    with pytest.raises(errors.InvalidRequest, match="once was used for another request"):
        await answers_of(exporter, request_id="once", cards=3)


async def test_labels_that_are_not_as_many_as_the_classes_start_no_process(
    store: ArtifactStore,
) -> None:
    processes = InstantProcesses(1)
    exporter = Exporter(store, CheckpointRoots([GOLDEN]), processes, processes)
    with pytest.raises(errors.Unconvertible, match="3 class labels, and densenet has 10 classes"):
        await answers_of(exporter, class_labels=("a", "b", "c"))
    assert not processes.begun.is_set()
    await answers_of(exporter, class_labels=tuple("0123456789"))
    assert processes.begun.is_set()


async def test_a_retry_joins_the_conversion_that_runs(store: ArtifactStore) -> None:
    processes = InstantProcesses(1)
    processes.go.clear()
    exporter = Exporter(store, CheckpointRoots([GOLDEN]), processes, processes)
    first = asyncio.create_task(answers_of(exporter, request_id="one"))
    await processes.begun.wait()
    second = asyncio.create_task(answers_of(exporter, request_id="one"))
    third = asyncio.create_task(answers_of(exporter, request_id="one", cards=5))
    with pytest.raises(errors.InvalidRequest, match="used for another"):
        await third
    # The one that began it goes away; the other still waits for it.
    first.cancel()
    await asyncio.wait([first])
    processes.go.set()
    events = await second
    assert isinstance(events[-1], Manifest)
    assert store.versions("m") == [1]


async def test_nobody_left_means_no_conversion(store: ArtifactStore) -> None:
    processes = InstantProcesses(1)
    processes.go.clear()
    exporter = Exporter(store, CheckpointRoots([GOLDEN]), processes, processes)
    tasks = [asyncio.create_task(answers_of(exporter, request_id="one")) for _ in range(2)]
    await processes.begun.wait()
    for task in tasks:
        task.cancel()
        await asyncio.wait([task])
    processes.go.set()
    assert store.versions("m") == []
    assert isinstance((await answers_of(exporter, request_id="one"))[-1], Manifest)


async def test_two_exporters_on_one_store_never_give_a_version_twice(store: ArtifactStore) -> None:
    exporters = []
    for _ in range(2):
        processes = InstantProcesses(1)
        own = ArtifactStore(store.url)
        exporters.append(Exporter(own, CheckpointRoots([GOLDEN]), processes, processes))
    done = await asyncio.gather(*(answers_of(one) for one in exporters for _ in range(5)))
    versions = sorted(one[-1].version for one in done if isinstance(one[-1], Manifest))
    assert versions == list(range(1, 11))
