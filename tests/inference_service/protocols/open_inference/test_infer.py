from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from tritonclient.grpc import service_pb2 as pb

from service_kit.status import from_rpc_error
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.manifests import conversion, graph_file
from tests.support.triton import array_input, code_of, failure, image_input, message, stub


def png(value: int, size: int = 2) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(written, "PNG")
    return written.getvalue()


def parameter(result: Any, key: str) -> Any:
    found = result.get_response().parameters[key]
    return getattr(found, found.WhichOneof("parameter_choice"))


def test_an_answer_says_who_gave_it(server: InferenceServer, client: Any) -> None:
    server.publish()
    result = client.infer("m", [image_input(1, 2)], request_id="7")
    np.testing.assert_array_equal(result.as_numpy("probs"), [[1, 1, 1], [2, 2, 2]])
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("m", "1", "7")
    assert len(response.raw_output_contents) == len(response.outputs) == 1
    assert not response.outputs[0].HasField("contents")
    servable = server.on_loop(lambda: server.registry.default("m"))
    assert servable is not None
    assert parameter(result, "graph_sha256") == servable.manifest.graph.sha256
    assert (parameter(result, "card"), parameter(result, "batch_size")) in [(0, 2), (1, 2)]
    assert parameter(result, "queue_us") >= 0
    assert parameter(result, "compute_us") >= 0


def test_many_images_are_spread_and_every_card_is_named(
    server: InferenceServer, client: Any
) -> None:
    server.publish()
    result = client.infer("m", [image_input(*range(8))])
    assert result.as_numpy("probs")[:, 0].tolist() == list(range(8))
    assert sorted(parameter(result, "cards").split(",")) == ["0", "1"]


def test_the_card_parameter_pins_a_card(server: InferenceServer, client: Any) -> None:
    server.publish()
    for card in (0, 1, 1):
        result = client.infer("m", [image_input(1)], parameters={"card": card})
        assert parameter(result, "card") == card
    error = failure(lambda: client.infer("m", [image_input(1)], parameters={"card": 2}))
    assert code_of(error) == "NOT_FOUND"
    assert "has no card 2; it has 0, 1" in error.message()


def test_a_version_is_named_by_number_or_label(server: InferenceServer, client: Any) -> None:
    server.publish(b"0")
    server.on_loop(lambda: server.rules.set_label("m", "stable", 1))
    server.publish(b"10")
    assert client.infer("m", [image_input(1)]).as_numpy("probs")[0, 0] == 11
    for version in ("1", "stable"):
        assert client.infer("m", [image_input(1)], version).as_numpy("probs")[0, 0] == 1
    labelled = client.infer("m", [image_input(1)], parameters={"label": "stable"})
    assert labelled.get_response().model_version == "1"
    both = failure(lambda: client.infer("m", [image_input(1)], "2", parameters={"label": "stable"}))
    assert code_of(both) == "INVALID_ARGUMENT"
    twice = failure(
        lambda: client.infer("m", [image_input(1)], "stable", parameters={"label": "stable"})
    )
    assert code_of(twice) == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "float16", "float32", ml_dtypes.bfloat16, "bool"]
)
def test_what_casts_without_loss_is_taken(server: InferenceServer, client: Any, dtype: Any) -> None:
    server.publish()
    images = pixels(1, 0).astype(dtype)
    result = client.infer("m", [array_input(images)])
    np.testing.assert_array_equal(result.as_numpy("probs"), [[1, 1, 1], [0, 0, 0]])


@pytest.mark.parametrize("dtype", ["float64", "int32", "uint64"])
def test_what_would_lose_bits_is_not(server: InferenceServer, client: Any, dtype: str) -> None:
    server.publish()
    error = failure(lambda: client.infer("m", [image_input(1, dtype=dtype)]))
    assert code_of(error) == "INVALID_ARGUMENT"
    assert f"input 'input' is {dtype}; the model takes float32" in error.message()


def test_typed_contents_are_answered_with_raw_ones(server: InferenceServer) -> None:
    server.publish()
    typed = pb.InferTensorContents(fp32_contents=pixels(3).ravel().tolist())
    request = message(3)
    del request.raw_input_contents[:]
    request.inputs[0].contents.CopyFrom(typed)
    with grpc.insecure_channel(server.address) as channel:
        response = stub(channel).ModelInfer(request)
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [3, 3, 3]


def test_no_images_are_no_answers(server: InferenceServer, client: Any) -> None:
    server.publish()
    result = client.infer("m", [image_input()])
    assert result.as_numpy("probs").shape == (0, 3)
    classes = [triton.InferRequestedOutput("probs", class_count=2)]
    assert list(client.infer("m", [image_input()], outputs=classes).get_output("probs").shape) == [
        0,
        0,
    ]


def test_encoded_images_are_elements_of_bytes(server: InferenceServer, client: Any) -> None:
    server.publish()
    images = np.array([png(7), png(9)], np.object_)
    for shape in ([2], [2, 1]):
        result = client.infer("m", [array_input(images.reshape(shape))])
        assert result.as_numpy("probs")[:, 0].tolist() == [7, 9]
    large = np.array([png(5, size=8)], np.object_)
    error = failure(lambda: client.infer("m", [array_input(large)]))
    assert code_of(error) == "INVALID_ARGUMENT"
    assert "image 0 of input 'input' has height 8 and width 8" in error.message()
    fitted = client.infer("m", [array_input(large)], parameters={"image_fit": "stretch"})
    assert fitted.as_numpy("probs")[0, 0] == 5


def test_classes_come_with_their_labels(server: InferenceServer, client: Any) -> None:
    labelled = replace(conversion(b"0"), class_labels=("cat", "dog", "cow"))
    server.store.publish("m", labelled, graph_file(server.folder, b"0"))
    server.sync()
    image = pixels(0)
    image[..., 1], image[..., 2] = 2, 1
    asked = [triton.InferRequestedOutput("probs", class_count=2)]
    result = client.infer("m", [array_input(image)], outputs=asked)
    assert result.get_output("probs").datatype == "BYTES"
    assert result.as_numpy("probs").tolist() == [[b"2.0:1:dog", b"1.0:2:cow"]]
    config = client.get_model_config("m").config
    assert json.loads(config.parameters["class_labels"].string_value) == ["cat", "dog", "cow"]


def test_an_output_that_does_not_exist_is_refused(server: InferenceServer, client: Any) -> None:
    server.publish()
    asked = [triton.InferRequestedOutput("logits")]
    error = failure(lambda: client.infer("m", [image_input(1)], outputs=asked))
    assert code_of(error) == "INVALID_ARGUMENT"
    assert "has no output 'logits'; it has probs" in error.message()


def test_urgent_requests_go_before_bulk(server: InferenceServer) -> None:
    server.publish(cards=1)
    engine = server.engines[0]
    engine.gate.clear()
    order: list[str] = []
    with grpc.insecure_channel(server.address) as channel:
        calls = []
        # The first occupies the card; the others wait behind it, four images each.
        for name, priority in (("first", 1), ("bulk", 2), ("urgent", 1)):
            request = message(*range(4), id=name)
            request.parameters["priority"].uint64_param = priority
            call = stub(channel).ModelInfer.future(request)
            call.add_done_callback(lambda done: order.append(done.result().id))
            calls.append(call)
            waiting = 4 * len(calls)
            while (
                server.on_loop(
                    lambda: server.registry.servables()[0].cards[0].status().outstanding_images
                )
                < waiting
            ):
                pass
        engine.gate.set()
        for call in calls:
            call.result()
        while len(order) < 3:
            pass
    assert order == ["first", "urgent", "bulk"]


def test_a_full_queue_is_unavailable_with_the_reason_and_the_time_to_wait(
    store: ArtifactStore, tmp_path: Path
) -> None:
    with inference_server(store, tmp_path, queue_images=4) as server:
        server.publish(cards=1)
        server.engines[0].gate.clear()
        with grpc.insecure_channel(server.address) as channel:
            waiting = stub(channel).ModelInfer.future(message(*range(4)))
            assert server.engines[0].started.acquire(timeout=30)
            with pytest.raises(grpc.RpcError) as raised:
                stub(channel).ModelInfer(message(1))
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            told = from_rpc_error(raised.value)
            assert told.reason == "QUEUE_FULL"
            assert told.retry_after is not None
            server.engines[0].gate.set()
            waiting.result()
            statistics = stub(channel).ModelStatistics(pb.ModelStatisticsRequest(name="m"))
            assert statistics.model_stats[0].inference_stats.fail.count == 1


def test_a_timeout_in_microseconds_is_unavailable_and_a_deadline_is_not(
    server: InferenceServer, client: Any
) -> None:
    server.publish(cards=1)
    engine = server.engines[0]
    engine.gate.clear()
    with grpc.insecure_channel(server.address) as channel:
        first = stub(channel).ModelInfer.future(message(*range(4)))
        assert engine.started.acquire(timeout=30)
        late = stub(channel).ModelInfer.future(_timed(message(5), 1))
        with pytest.raises(grpc.RpcError) as raised:
            stub(channel).ModelInfer(message(6), timeout=0.05)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        engine.gate.set()
        first.result()
        with pytest.raises(grpc.RpcError) as raised:
            late.result()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert from_rpc_error(raised.value).reason == "DEADLINE_EXPIRED"
        assert "deadline" in str(raised.value.details())
        # One that is long enough changes nothing.
        assert stub(channel).ModelInfer(_timed(message(5), 60_000_000)).outputs


def _timed(request: Any, microseconds: int) -> Any:
    request.parameters["timeout"].int64_param = microseconds
    return request
