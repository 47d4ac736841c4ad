"""What every scenario has: a mark, a folder for what servers remember, and a few tools."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service_kit.store.artifact_store import ArtifactStore
from tests.support.hostile_graphs import plain, publish
from tests.support.services import Service, running

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks everything in this folder: none of it belongs into a quick run."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)


@dataclass(frozen=True)
class Arena:
    """A store on disk, a folder, and servers on the store."""

    store: ArtifactStore
    folder: Path

    def publish(self, model: str, graph: bytes) -> int:
        return publish(self.store, self.folder / "graphs", model, graph).version

    @contextlib.contextmanager
    def serving(self, *options: str, log: str = "log") -> Iterator[Service]:
        """Runs a server that looks at the store five times a second, and remembers its loads."""
        own = ("--store", self.store.url, "--state", str(self.folder / "state"), "--poll", "0.2")
        with running("inference_service", *own, *options, log=self.folder / log) as service:
            yield service


@pytest.fixture
def arena(store: ArtifactStore, tmp_path: Path) -> Arena:
    return Arena(store, tmp_path)


@pytest.fixture(scope="session")
def good() -> bytes:
    """A graph that answers channel means."""
    return plain()
