from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.support.inference_server import InferenceServer
from tests.support.manifests import conversion, graph_file
from tests.support.triton import code_of, failure, stub


def test_the_index_lists_what_the_store_has_and_what_became_of_it(
    server: InferenceServer, client: Any
) -> None:
    server.publish()
    server.publish(b"7")
    server.store.publish("bad", conversion(b"broken"), graph_file(server.folder, b"broken"))
    server.sync()
    models = client.get_model_repository_index().models
    assert [(m.name, m.version, m.state) for m in models] == [
        ("bad", "1", "UNAVAILABLE"),
        ("m", "1", "UNAVAILABLE"),
        ("m", "2", "READY"),
    ]
    assert "no tensor probs:0" in models[0].reason
    assert models[1].reason == "not loaded"
    with grpc.insecure_channel(server.address) as channel:
        ready = stub(channel).RepositoryIndex(pb.RepositoryIndexRequest(ready=True)).models
    assert [(m.name, m.version) for m in ready] == [("m", "2")]


def test_models_are_loaded_and_unloaded(server: InferenceServer, client: Any) -> None:
    server.store.publish("m", conversion(b"0"), graph_file(server.folder, b"0"))
    client.load_model("m")
    assert client.is_model_ready("m")
    client.unload_model("m", unload_dependents=True)
    assert not client.is_model_ready("m")
    assert code_of(failure(lambda: client.load_model("absent"))) == "NOT_FOUND"
    assert code_of(failure(lambda: client.unload_model("absent"))) == "NOT_FOUND"


def test_one_version_is_loaded_and_unloaded_by_parameter(server: InferenceServer) -> None:
    server.publish()
    server.publish(b"7")
    with grpc.insecure_channel(server.address) as channel:
        load = pb.RepositoryModelLoadRequest(model_name="m")
        load.parameters["version"].int64_param = 1
        stub(channel).RepositoryModelLoad(load)
        asked = pb.ModelReadyRequest(name="m", version="1")
        assert stub(channel).ModelReady(asked).ready
        unload = pb.RepositoryModelUnloadRequest(model_name="m")
        unload.parameters["version"].int64_param = 1
        stub(channel).RepositoryModelUnload(unload)
        assert not stub(channel).ModelReady(asked).ready


def test_kserves_field_number_of_the_model_is_taken(server: InferenceServer) -> None:
    server.store.publish("m", conversion(b"0"), graph_file(server.folder, b"0"))
    with grpc.insecure_channel(server.address) as channel:
        # KServe's message has the model's name as field 1.
        stub(channel).RepositoryModelLoad(pb.RepositoryModelLoadRequest(repository_name="m"))
        assert stub(channel).ModelReady(pb.ModelReadyRequest(name="m")).ready
        stub(channel).RepositoryModelUnload(pb.RepositoryModelUnloadRequest(repository_name="m"))
        assert not stub(channel).ModelReady(pb.ModelReadyRequest(name="m")).ready


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (lambda c: c.load_model("m", config="{}"), "UNIMPLEMENTED", "come from the store alone"),
        (
            lambda c: c.load_model("m", config="{}", files={"file:1/model.pb": b"x"}),
            "UNIMPLEMENTED",
            "come from the store alone",
        ),
        (lambda c: c.load_model("../m"), "INVALID_ARGUMENT", "model name '../m' is not allowed"),
        (lambda c: c.load_model(""), "INVALID_ARGUMENT", "model name '' is not allowed"),
        (lambda c: c.unload_model("M"), "INVALID_ARGUMENT", "model name 'M' is not allowed"),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    client: Any, call: Callable[[Any], Any], code: str, words: str
) -> None:
    error = failure(lambda: call(client))
    assert code_of(error) == code
    assert words in error.message()
