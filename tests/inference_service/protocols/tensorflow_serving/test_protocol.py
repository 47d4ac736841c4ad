from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from inference_service.protocols.rpc_roles import RPC_ROLES
from inference_service.protocols.tensorflow_serving.protocol import TensorFlowServing
from tests.support.inference_server import InferenceServer

# Runs in a process of its own: this one has TensorFlow from other tests.
WITHOUT_TENSORFLOW = """
import sys, tempfile
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from inference_service.protocols.tensorflow_serving import messages
from service_kit.store.artifact_store import ArtifactStore
from tests.support.inference_server import inference_server

SERVICES = ["tensorflow.serving.ModelService", "tensorflow.serving.PredictionService"]
folder = Path(tempfile.mkdtemp())
store = ArtifactStore(str(folder / "models"))
store.create()

def reflected(stub, **request):
    asked = reflection_pb2.ServerReflectionRequest(**request)
    return next(stub.ServerReflectionInfo(iter([asked])))

def files(stub, **request):
    found = reflected(stub, **request).file_descriptor_response.file_descriptor_proto
    return {descriptor_pb2.FileDescriptorProto.FromString(one).name for one in found}

with inference_server(store, folder) as server, grpc.insecure_channel(server.address) as channel:
    server.publish(b"5")
    request = messages.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["input"].dtype = 1
    for size in (1, 2, 2, 3):
        request.inputs["input"].tensor_shape.dim.add().size = size
    request.inputs["input"].float_val.append(1)
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    answer = messages.PredictResponse.FromString(call(request.SerializeToString()))
    assert list(answer.outputs["probs"].float_val) == [6, 6, 6], answer
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    listed = reflected(stub, list_services="").list_services_response.service
    assert {one.name for one in listed} >= {*SERVICES}
    for name in SERVICES:
        found = files(stub, file_containing_symbol=name)
        assert "tensorflow_serving/apis/model.proto" in found, found
        assert name.endswith("ModelService") or "tensorflow/core/framework/tensor.proto" in found
    assert files(stub, file_by_filename="tensorflow_serving/apis/predict.proto")
    assert reflected(stub, file_containing_symbol="tensorflow.serving.Nothing").error_response
    loaded = {name.split(".")[0] for name in sys.modules}
    assert not loaded & {"tensorflow", "tensorflow_serving"}, loaded
"""


def test_a_server_answers_and_reflects_without_tensorflow() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=Path(__file__).resolve().parents[4],
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
