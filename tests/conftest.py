"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from service_kit.artifacts.manifest import Conversion, MovingAverageMode
from service_kit.store.artifact_store import ArtifactStore
from tests.support.digits import GOLDEN, convert_and_prove, digits_spec
from tests.support.services import Service, running

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("pbserve", deadline=None)
settings.load_profile("pbserve")


@dataclass(frozen=True)
class Converted:
    """A conversion's description and its graph file."""

    conversion: Conversion
    path: Path


@pytest.fixture(scope="session")
def converted_ema(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """Two cards with moving averages: what version 1 of the demo is."""
    return _converted(tmp_path_factory.mktemp("ema"), MovingAverageMode.AUTO)


@pytest.fixture(scope="session")
def converted_raw(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """Two cards without moving averages: what version 2 of the demo is."""
    return _converted(tmp_path_factory.mktemp("raw"), MovingAverageMode.OFF)


def _converted(folder: Path, mode: MovingAverageMode) -> Converted:
    done = convert_and_prove(digits_spec(moving_average=mode, cards=2), folder)
    return Converted(done, folder / done.graph.file_name)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """An empty store on disk."""
    opened = ArtifactStore(str(tmp_path / "models"))
    opened.create()
    return opened


@pytest.fixture
def memory_store() -> Iterator[ArtifactStore]:
    """An empty store in memory: the code path of object stores."""
    from fsspec.implementations.memory import MemoryFileSystem

    opened = ArtifactStore("memory://pbserve-tests")
    opened.create()
    yield opened
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@dataclass(frozen=True)
class RunningExporter:
    """A real exporter over the golden checkpoints, and its store."""

    service: Service
    store: Path

    @property
    def address(self) -> str:
        return self.service.address


@pytest.fixture(scope="session")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExporter]:
    """One exporter process for all tests; each uses model names of its own."""
    folder = tmp_path_factory.mktemp("exporter")
    store = folder / "models"
    options = ("--store", str(store), "--checkpoint-root", str(GOLDEN))
    with running("exporter_service", *options, log=folder / "log") as service:
        yield RunningExporter(service, store)


def pytest_configure() -> None:
    """Has SIGINT do what it does in a terminal, here and in what tests start.

    A run in the background of a script, or under nohup, begins with SIGINT ignored, which every
    process that it starts inherits: Ctrl-C could not be tried.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Has what is there for the whole run left out of garbage collections, as servers do.

    A full collection looks at everything, thousands of tests among it: 0.25 s each time a model is
    loaded or freed.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _imported_for_good() -> Iterator[None]:
    """The same for TensorFlow, once a module of tests has imported it."""
    before = "tensorflow" in sys.modules
    yield
    if not before and "tensorflow" in sys.modules:
        gc.collect()
        gc.freeze()
