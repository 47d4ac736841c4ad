"""A running inference service without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from service_kit.store.artifact_store import ArtifactStore
from tests.support.inference_server import InferenceServer, inference_server


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keeps the logs of servers in this process out of what command lines print."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def server(store: ArtifactStore, tmp_path: Path) -> Iterator[InferenceServer]:
    with inference_server(store, tmp_path) as running:
        yield running
