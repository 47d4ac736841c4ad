"""A server without TensorFlow: what the exporter has proven is served in all three protocols."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

from inference_service.client import InferenceClient
from service_kit.store.artifact_store import ArtifactStore
from tests.conftest import Converted
from tests.e2e.test_protocols_agree import MODEL, PROTOCOLS, answers
from tests.support.digits import PARITY, expected
from tests.support.services import Service, running

# Read by the server's Python before anything else.
WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None
sys.modules["tensorflow_serving"] = None
"""


@pytest.fixture(scope="module")
def service(
    converted_ema: Converted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("server")
    store = ArtifactStore(str(folder / "models"))
    store.create()
    store.publish(MODEL, converted_ema.conversion, converted_ema.path)
    (folder / "sitecustomize.py").write_text(WITHOUT_TENSORFLOW)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    environment = {"PYTHONPATH": path, "PBSERVE_LISTEN": "127.0.0.1:0"}
    options = ("--store", str(folder / "models"), "--devices", "cpu:2")
    with running(
        "inference_service", *options, log=folder / "log", environment=environment
    ) as started:
        with InferenceClient(started.address) as client:
            client.wait_until_ready(MODEL, timeout=60)
        yield started


def test_auto_takes_it_and_says_why(service: Service) -> None:
    with InferenceClient(service.address) as client:
        engine = client.model(MODEL).versions[0].engine
    assert engine is not None
    assert (engine.name, engine.precision) == ("openvino", "f32")
    assert engine.version
    assert engine.reason == "the fastest on the CPU"
    assert engine.parity is not None
    assert engine.parity.passed
    assert 0 < engine.parity.tolerance <= PARITY
    log = service.log.read_text()
    assert "engine_chosen" in log
    assert "openvino" in log


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_answers_as_tensorflow_1_15_did(service: Service, protocol: Any) -> None:
    for card in (0, 1):
        found = answers(service, protocol, expected()["images"], card, each=False)
        assert found.dtype == np.float32
        assert np.abs(found - expected()["probs_ema"]).max() < PARITY
