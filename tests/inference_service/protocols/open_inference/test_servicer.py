from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import message as protobuf
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc import service_pb2 as pb

from service_kit import __version__
from tests.support.inference_server import InferenceServer
from tests.support.triton import code_of, failure, image_input, stub


def test_ready_follows_health(server: InferenceServer, client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    server.call(server.server.health.stop())
    assert client.is_server_live()
    assert not client.is_server_ready()


def test_a_model_is_ready_in_the_versions_and_labels_that_answer(
    server: InferenceServer, client: Any
) -> None:
    server.publish()
    server.on_loop(lambda: server.rules.set_label("m", "stable", 1))
    ready = {at: client.is_model_ready("m", at) for at in ("", "1", "stable", "2", "canary")}
    assert ready == {"": True, "1": True, "stable": True, "2": False, "canary": False}
    assert not client.is_model_ready("never-heard-of")
    assert code_of(failure(lambda: client.is_model_ready("m", "-1"))) == "INVALID_ARGUMENT"


def test_a_model_whose_cards_are_all_out_of_order_is_not_ready(
    server: InferenceServer, client: Any
) -> None:
    server.publish(cards=1)
    server.engines[0].broken_cards = {0}
    for _ in range(3):
        failure(lambda: client.infer("m", [image_input(1)]))
    assert not client.is_model_ready("m")


def test_the_server_says_who_it_is_and_what_it_has(client: Any) -> None:
    metadata = client.get_server_metadata()
    assert (metadata.name, metadata.version) == ("pbserve", __version__)
    assert "system_shared_memory" in metadata.extensions
    assert not {"cuda_shared_memory", "sequence", "trace", "logging"} & set(metadata.extensions)


def test_metadata_describes_the_tensors_of_a_version(server: InferenceServer, client: Any) -> None:
    server.publish()
    metadata = client.get_model_metadata("m", as_json=True)
    assert metadata == {
        "name": "m",
        "versions": ["1"],
        "platform": "tensorflow_graphdef",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": ["-1", "2", "2", "3"]}],
        "outputs": [{"name": "probs", "datatype": "FP32", "shape": ["-1", "3"]}],
    }


def test_the_configuration_says_what_the_server_does(server: InferenceServer, client: Any) -> None:
    server.publish(cards=2)
    server.on_loop(lambda: server.rules.set_label("m", "stable", 1))
    config = client.get_model_config("m").config
    assert (config.name, config.platform, config.backend) == (
        "m",
        "tensorflow_graphdef",
        "tensorflow",
    )
    assert config.max_batch_size == 4
    assert list(config.version_policy.specific.versions) == [1]
    (taken,), (given,) = config.input, config.output
    assert (taken.name, list(taken.dims)) == ("input", [2, 2, 3])
    assert (taken.data_type, taken.format) == (model_config_pb2.TYPE_FP32, taken.FORMAT_NHWC)
    assert (given.name, list(given.dims)) == ("probs", [3])
    groups = [(group.name, group.kind, group.count) for group in config.instance_group]
    cpu = model_config_pb2.ModelInstanceGroup.KIND_CPU
    assert groups == [("card_0", cpu, 1), ("card_1", cpu, 1)]
    assert config.default_model_filename == "frozen_model.pb"
    batching = config.dynamic_batching
    assert (batching.priority_levels, list(batching.preferred_batch_size)) == (2, [4])
    assert config.parameters["graph_sha256"].string_value
    assert json.loads(config.parameters["version_labels"].string_value) == {"stable": 1}


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, *at: client.get_model_metadata(*at),
        lambda client, *at: client.get_model_config(*at),
        lambda client, *at: client.get_inference_statistics(*at),
        lambda client, *at: client.infer(at[0], [image_input(1)], *at[1:]),
    ],
    ids=["metadata", "config", "statistics", "infer"],
)
def test_what_is_not_there_has_tritons_words_and_status(
    server: InferenceServer, client: Any, ask: Callable[..., Any]
) -> None:
    server.publish()
    for at in (("x",), ("",), ("m", "2"), ("m", "canary")):
        if at == ("",) and ask.__code__.co_names[0] == "get_inference_statistics":
            continue
        error = failure(lambda at=at: ask(client, *at))  # type: ignore[misc]
        assert code_of(error) == "NOT_FOUND"
        assert error.message().startswith("Request for unknown model: ")


def test_what_is_loading_may_be_tried_again(server: InferenceServer, client: Any) -> None:
    with server.publishing():
        error = failure(lambda: client.infer("m", [image_input(1)]))
        assert code_of(error) == "UNAVAILABLE"
        assert "Request for unknown model: model m version 1 is LOADING" in error.message()
        assert not client.is_model_ready("m")


def test_cuda_memory_and_settings_are_answered_as_by_a_server_without_them(client: Any) -> None:
    assert not client.get_cuda_shared_memory_status().regions
    client.unregister_cuda_shared_memory()
    calls: list[Callable[[], Any]] = [
        lambda: client.register_cuda_shared_memory("r", b"aGFuZGxl", 0, 64),
        client.get_trace_settings,
        lambda: client.update_trace_settings("m", {"trace_level": "OFF"}),
        client.get_log_settings,
        lambda: client.update_log_settings({"log_info": False}),
    ]
    for call in calls:
        error = failure(call)
        assert code_of(error) == "UNIMPLEMENTED"
        assert error.message()


def test_reflection_and_health_know_the_service(server: InferenceServer) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with grpc.insecure_channel(server.address) as channel:
        reflect: Any = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = reflect(iter([asked]))
    names = {service.name for service in answer.list_services_response.service}
    assert "inference.GRPCInferenceService" in names


def test_our_client_does_not_pay_for_the_protocol() -> None:
    code = "import sys, inference_service.client; sys.exit('tritonclient' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_server_does_not_need_tensorflow_for_it() -> None:
    module = "inference_service.protocols.registration"
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_rpc_of_the_protocol_is_answered(server: InferenceServer) -> None:
    """None is left to the stubs' own `Method not implemented!`."""
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    with grpc.insecure_channel(server.address) as channel:
        for method in service.methods:
            request: protobuf.Message = getattr(pb, method.input_type.name)()
            call: Any = getattr(stub(channel), method.name)
            try:
                answers = call(iter([request])) if method.client_streaming else [call(request)]
                said = f"{len(list(answers))} answer"
            except grpc.RpcError as error:
                said = str(error.details())
            assert said == "1 answer" or "not implemented" not in said, method.name
