from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from exporter_service.checkpoint_roots import CheckpointRoots
from exporter_service.conversion_process import ConversionProcesses, Task
from exporter_service.exporter import Exporter
from exporter_service.progress import Progress, Report, Step
from service_kit.artifact_store import ArtifactStore
from service_kit.manifest import Conversion, Manifest
from tests.support.digits import GOLDEN, digits_request
from tests.support.manifests import conversion, graph_file


class InstantProcesses(ConversionProcesses):
    """Conversions without TensorFlow: the graph is there at once."""

    async def run(self, task: Task, report: Report) -> Conversion:
        graph_file(task.arguments[1])
        return conversion()


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
