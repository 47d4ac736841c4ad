"""A running inference service without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service_kit.artifact_store import ArtifactStore
from tests.support.inference_server import InferenceServer, inference_server


@pytest.fixture
def server(store: ArtifactStore, tmp_path: Path) -> Iterator[InferenceServer]:
    with inference_server(store, tmp_path) as running:
        yield running
