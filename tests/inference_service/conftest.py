"""A running inference service without TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from service_kit.artifact_store import ArtifactStore
from tests.support.inference_server import InferenceServer, inference_server


@pytest.fixture
def server(store: ArtifactStore, tmp_path: Path) -> Iterator[InferenceServer]:
    # The server shares this process's standard output with the command lines under test.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with inference_server(store, tmp_path) as running:
        yield running
    structlog.reset_defaults()
