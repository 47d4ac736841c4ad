"""Triton's own client at a running inference service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tritonclient.grpc as triton

from tests.support.inference_server import InferenceServer


@pytest.fixture
def client(server: InferenceServer) -> Iterator[Any]:
    with triton.InferenceServerClient(server.address) as found:
        yield found
