from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inference_service.protocols.rpc_roles import RPC_ROLES
from inference_service.protocols.tensorflow_serving import protocol
from inference_service.protocols.tensorflow_serving.protocol import TensorFlowServing
from tests.support.inference_server import InferenceServer

# Runs in a process of its own: this one has TensorFlow from other tests.
BEFORE_TENSORFLOW = """
import sys, tempfile
from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from inference_service.client import InferenceClient
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import pixels
from tests.support.inference_server import inference_server

SERVICES = ["tensorflow.serving.ModelService", "tensorflow.serving.PredictionService"]
folder = Path(tempfile.mkdtemp())
store = ArtifactStore(str(folder / "models"))
store.create()

def reflected(stub, **request):
    asked = reflection_pb2.ServerReflectionRequest(**request)
    return next(stub.ServerReflectionInfo(iter([asked])))

with inference_server(store, folder) as server, grpc.insecure_channel(server.address) as channel:
    server.publish(b"5")
    with InferenceClient(server.address) as client:
        assert client.predict("m", pixels(1)).outputs["probs"][0, 0] == 6
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    listed = reflected(stub, list_services="").list_services_response.service
    assert {one.name for one in listed} >= {*SERVICES}
    classify = channel.unary_unary("/tensorflow.serving.PredictionService/Classify")
    try:
        classify(b"")
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not any(name.split(".")[0] == "tensorflow" for name in sys.modules)
    ASK
"""
FIRST_CALL = """
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    waiting = [call.future(b"", timeout=60) for _ in range(50)]
    with InferenceClient(server.address) as client:
        while not all(one.done() for one in waiting):
            # Whoever imports holds nobody up.
            assert client.predict("m", pixels(1)).outputs["probs"][0, 0] == 6
    assert {one.details() for one in waiting} == {"Missing ModelSpec"}
    import os
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"
    assert os.environ["TF_OVERRIDE_GLOBAL_THREADPOOL"] == "1"
"""
REFLECTION = """
    for name in SERVICES:
        answer = reflected(stub, file_containing_symbol=name).file_descriptor_response
        files = {descriptor_name(one) for one in answer.file_descriptor_proto}
        assert "tensorflow_serving/apis/model.proto" in files, files
        assert name.endswith("ModelService") or "tensorflow/core/framework/tensor.proto" in files
    file = "tensorflow_serving/apis/predict.proto"
    assert reflected(stub, file_by_filename=file).HasField("file_descriptor_response")
    assert reflected(stub, file_containing_symbol="tensorflow.serving.Nothing").error_response
"""
DESCRIPTOR_NAME = """
from google.protobuf import descriptor_pb2

def descriptor_name(serialized):
    return descriptor_pb2.FileDescriptorProto.FromString(serialized).name
"""


@pytest.mark.parametrize("ask", [FIRST_CALL, REFLECTION])
def test_a_server_opens_and_answers_without_tensorflow_until_its_protocol_is_used(
    ask: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DESCRIPTOR_NAME + BEFORE_TENSORFLOW.replace("    ASK\n", ask)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=Path(__file__).resolve().parents[3],
        # Without what TensorFlow in this process was told.
        env={name: value for name, value in os.environ.items() if not name.startswith("TF_")},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_method_has_a_role_and_every_role_a_method(server: InferenceServer) -> None:
    answered = {*TensorFlowServing(server.core)._methods}
    roles = {method for method in RPC_ROLES if method.startswith("/tensorflow.serving.")}
    assert answered == roles


def test_methods_of_others_are_left_to_them(server: InferenceServer) -> None:
    for service in ("SessionService", "PredictionService"):
        details = SimpleNamespace(method=f"/tensorflow.serving.{service}/SessionRun")
        assert TensorFlowServing(server.core).service(details) is None


async def test_an_import_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def imported(name: str) -> Any:
        attempts.append(name)
        if len(attempts) == 1:
            raise ImportError("no such file")
        return sys

    monkeypatch.setattr(protocol, "import_tensorflow", lambda: None)
    monkeypatch.setattr(importlib, "import_module", imported)
    shared = protocol._SharedImport()
    with pytest.raises(ImportError):
        await shared.module()
    assert await asyncio.gather(*(shared.module() for _ in range(20))) == [sys] * 20
    assert len(attempts) == 2


async def test_a_caller_that_goes_away_does_not_take_the_import_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(protocol, "import_tensorflow", lambda: gate.wait(30))
    monkeypatch.setattr(importlib, "import_module", lambda _: sys)
    shared = protocol._SharedImport()
    first = asyncio.ensure_future(shared.module())
    second = asyncio.ensure_future(shared.module())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    gate.set()
    assert await second is sys
