from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from inference_service.tensor_codec import encode_tensor
from pbserve.inference.v1 import inference_pb2 as pb
from pbserve.inference.v1 import inference_pb2_grpc
from service_kit.artifact_store import ArtifactStore
from tests.support.engines import MeanEngine, pixels
from tests.support.inference_server import InferenceServer, inference_server

WAIT = 30.0


@pytest.fixture
def stub(server: InferenceServer) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield inference_pb2_grpc.InferenceServiceStub(channel)


def request(*values: float, **changes: Any) -> pb.PredictRequest:
    fields: dict[str, Any] = {"model": "m", "inputs": {"input": encode_tensor(pixels(*values))}}
    return pb.PredictRequest(**(fields | changes))


def streamed(
    *requests: pb.PredictRequest, in_order: bool = False
) -> Iterator[pb.StreamPredictRequest]:
    for one in requests:
        yield pb.StreamPredictRequest(request=one, in_request_order=in_order)


def mean(response: pb.PredictResponse) -> float:
    return float(np.frombuffer(response.outputs["probs"].data, "<f4")[0])


def test_predict_tells_who_answered_and_how(server: InferenceServer, stub: Any) -> None:
    server.publish(b"5")
    response = stub.Predict(request(1, 2, request_id="r-7"))
    assert mean(response) == 6
    assert list(response.outputs["probs"].shape) == [2, 3]
    assert (response.model, response.version, response.request_id) == ("m", 1, "r-7")
    assert response.batch_size == 2
    assert response.HasField("queue_time")
    assert response.HasField("compute_time")


def test_a_named_card_answers_and_an_unnamed_one_rotates(
    server: InferenceServer, stub: Any
) -> None:
    server.publish(cards=3)
    assert [stub.Predict(request(1, card=card)).card for card in (2, 0, 2, 1)] == [2, 0, 2, 1]
    assert sorted(stub.Predict(request(1)).card for _ in range(6)) == [0, 0, 1, 1, 2, 2]


def test_no_images_are_answered_with_no_probabilities(server: InferenceServer, stub: Any) -> None:
    server.publish()
    empty = encode_tensor(np.zeros((0, 2, 2, 3), np.float32))
    response = stub.Predict(request(inputs={"input": empty}))
    assert list(response.outputs["probs"].shape) == [0, 3]
    assert response.batch_size == 0


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"model": "digit"}, grpc.StatusCode.NOT_FOUND, "no model 'digit'; there are m"),
        ({"model": ""}, grpc.StatusCode.INVALID_ARGUMENT, "model is empty"),
        ({"version": 7}, grpc.StatusCode.NOT_FOUND, "no version 7; it has 1"),
        ({"version": -7}, grpc.StatusCode.INVALID_ARGUMENT, "version is -7"),
        ({"label": "stable"}, grpc.StatusCode.NOT_FOUND, "no label stable"),
        ({"card": 2}, grpc.StatusCode.NOT_FOUND, "no card 2; it has 0, 1"),
        ({"card": -1}, grpc.StatusCode.NOT_FOUND, "no card -1"),
        (
            {"inputs": {"images": encode_tensor(pixels(1))}},
            grpc.StatusCode.INVALID_ARGUMENT,
            r"inputs are ['images']; the model takes ['input']",
        ),
        (
            {"inputs": {"input": encode_tensor(pixels(1)[0])}},
            grpc.StatusCode.INVALID_ARGUMENT,
            "has shape [2, 2, 3]; the model takes [images, 2, 2, 3]",
        ),
        (
            {"inputs": {"input": encode_tensor(pixels(1).astype("float64"))}},
            grpc.StatusCode.INVALID_ARGUMENT,
            "is float64; the model takes float32",
        ),
        (
            {
                "inputs": {
                    "input": pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=[1, 2, 2, 3], data=b"123")
                }
            },
            grpc.StatusCode.INVALID_ARGUMENT,
            "has 3 bytes; float32 of shape [1, 2, 2, 3] takes 48",
        ),
        (
            {"inputs": {"input": encode_tensor(pixels(MeanEngine.poison))}},
            grpc.StatusCode.INTERNAL,
            "poisoned",
        ),
    ],
)
def test_bad_requests_get_their_status_and_words(
    server: InferenceServer, stub: Any, fields: dict[str, Any], code: grpc.StatusCode, words: str
) -> None:
    server.publish()
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request(1, **fields))
    assert caught.value.code() is code
    assert words in str(caught.value.details())
    # The same request in a stream gets the same error, and its neighbours their answers.
    answers = list(
        stub.StreamPredict(streamed(request(1), request(1, **fields), request(3), in_order=True))
    )
    assert [answer.WhichOneof("result") for answer in answers] == ["response", "error", "response"]
    assert answers[1].error.code == code.value[0]
    assert answers[1].error.message == caught.value.details()
    assert mean(answers[2].response) == 3


def test_a_stream_answers_every_request_by_its_id(server: InferenceServer, stub: Any) -> None:
    server.publish()
    requests = [request(n, request_id=str(n)) for n in range(200)]
    answers = list(stub.StreamPredict(streamed(*requests)))
    assert {int(a.request_id): mean(a.response) for a in answers} == {n: n for n in range(200)}
    assert {a.response.card for a in answers} == {0, 1}


def test_a_stream_keeps_order_when_asked_to(server: InferenceServer, stub: Any) -> None:
    server.publish()
    requests = [request(n, request_id=str(n)) for n in range(200)]
    answers = stub.StreamPredict(streamed(*requests, in_order=True))
    assert [int(answer.request_id) for answer in answers] == list(range(200))


def test_an_open_stream_sees_a_swap_and_loses_nothing(server: InferenceServer, stub: Any) -> None:
    server.publish(b"1000")
    turns, asked = threading.Semaphore(0), iter(range(40))

    def requests() -> Iterator[pb.StreamPredictRequest]:
        for n in asked:
            turns.acquire(timeout=WAIT)
            yield from streamed(request(n, request_id=str(n)))

    answers = stub.StreamPredict(requests())
    turns.release(20)
    before = [next(answers) for _ in range(20)]
    server.publish(b"2000")
    turns.release(20)
    after = list(answers)
    assert {a.response.version for a in before} == {1}
    assert {a.response.version for a in after} == {2}
    for answer in (*before, *after):
        assert mean(answer.response) == 1000 * answer.response.version + int(answer.request_id)


def test_half_close_finishes_what_is_in_flight(server: InferenceServer, stub: Any) -> None:
    server.publish(cards=1)
    server.engines[0].gate.clear()
    answers = stub.StreamPredict(streamed(*(request(n) for n in range(10))))
    assert server.engines[0].started.acquire(timeout=WAIT)
    server.engines[0].gate.set()
    assert len(list(answers)) == 10


def test_an_abandoned_stream_frees_its_places(server: InferenceServer, stub: Any) -> None:
    server.publish(cards=1)
    server.engines[0].started = threading.Semaphore(0)
    server.engines[0].gate.clear()
    answers = stub.StreamPredict(streamed(*(request(n) for n in range(50))))
    assert server.engines[0].started.acquire(timeout=WAIT)
    answers.cancel()
    # What runs cannot be taken back; everything else is gone without being computed.
    status = stub.GetModel(pb.GetModelRequest(model="m"))
    while status.model.versions[0].cards[0].outstanding_images > 4:
        status = stub.GetModel(pb.GetModelRequest(model="m"))
    server.engines[0].gate.set()
    assert mean(stub.Predict(request(7))) == 7
    # One to warm, at most one full batch that ran, one for the last request.
    assert sum(images for _, images in server.engines[0].batches) <= 1 + 4 + 1


def test_an_expired_deadline_is_not_computed(server: InferenceServer, stub: Any) -> None:
    server.publish(cards=1)
    server.engines[0].started = threading.Semaphore(0)
    server.engines[0].gate.clear()
    first = stub.Predict.future(request(1))
    assert server.engines[0].started.acquire(timeout=WAIT)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request(2), timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    server.engines[0].gate.set()
    assert mean(first.result(WAIT)) == 1
    assert mean(stub.Predict(request(3))) == 3
    assert sum(images for _, images in server.engines[0].batches) == 3


def test_a_full_queue_is_resource_exhausted_and_says_when_to_retry(
    store: ArtifactStore, tmp_path: Path
) -> None:
    with (
        inference_server(store, tmp_path, queue_images=2) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        server.publish(cards=1)
        server.engines[0].gate.clear()
        answers = list_later(stub.StreamPredict(streamed(*(request(n) for n in range(6)))), server)
    failed = [answer.error for answer in answers if answer.HasField("error")]
    assert {error.code for error in failed} == {code_pb2.RESOURCE_EXHAUSTED}
    assert len(failed) == 4
    assert any("RetryInfo" in detail.type_url for detail in failed[0].details)


def list_later(answers: Any, server: InferenceServer) -> list[pb.StreamPredictResponse]:
    """Lets the engine go once all refusals have come."""
    got = [next(answers) for _ in range(4)]
    server.engines[0].gate.set()
    return [*got, *answers]


def test_a_slow_reader_holds_up_its_own_stream_only(store: ArtifactStore, tmp_path: Path) -> None:
    read = []

    def requests() -> Iterator[pb.StreamPredictRequest]:
        for n in range(500):
            read.append(n)
            # Large enough that flow control, not buffers, decides.
            yield from streamed(request(*[float(n)] * 500, request_id=str(n)))

    with (
        inference_server(store, tmp_path, window=4, queue_images=10_000) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        server.publish()
        slow = stub.StreamPredict(requests())
        assert next(slow).HasField("response")
        assert mean(stub.Predict(request(3))) == 3
        assert len(read) < 500
        rest = list(slow)
    assert [answer.HasField("response") for answer in rest] == [True] * 499


def test_models_are_described_with_states_and_tensors(server: InferenceServer, stub: Any) -> None:
    server.publish()
    server.publish(b"broken")
    model = stub.GetModel(pb.GetModelRequest(model="m")).model
    good, bad = model.versions
    assert (model.default_version, good.version, bad.version) == (1, 1, 2)
    assert good.state == pb.VersionStatus.STATE_AVAILABLE
    assert [card.inputs[0].tensor_name for card in good.cards] == [
        "Card_0/input:0",
        "Card_1/input:0",
    ]
    assert list(good.cards[0].inputs[0].shape) == [-1, 2, 2, 3]
    assert len(good.graph_sha256) == 64
    assert bad.state == pb.VersionStatus.STATE_FAILED
    assert bad.reason == "the graph has no tensor probs:0"
    assert stub.ListModels(pb.ListModelsRequest()).models == [model]
    with pytest.raises(grpc.RpcError, match="no model 'x'; there are m"):
        stub.GetModel(pb.GetModelRequest(model="x"))


@pytest.mark.parametrize("rpc", ["LoadModel", "UnloadModel", "SetLabel"])
def test_what_this_release_lacks_says_so(stub: Any, rpc: str) -> None:
    with pytest.raises(grpc.RpcError, match=f"{rpc} is not served") as caught:
        getattr(stub, rpc)(getattr(pb, f"{rpc}Request")())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_describes_the_service(server: InferenceServer) -> None:
    symbol = reflection_pb2.ServerReflectionRequest(
        file_containing_symbol="pbserve.inference.v1.InferenceService"
    )
    with grpc.insecure_channel(server.address) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([symbol]))
    assert any(
        b"StreamPredict" in file for file in answer.file_descriptor_response.file_descriptor_proto
    )


def test_many_open_streams_do_not_starve_each_other(server: InferenceServer) -> None:
    server.publish()
    count = 100
    with grpc.insecure_channel(server.address) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        end = threading.Event()

        def requests(n: int) -> Iterator[pb.StreamPredictRequest]:
            yield from streamed(request(n))
            end.wait(WAIT)

        streams = [stub.StreamPredict(requests(n)) for n in range(count)]
        assert [mean(next(stream).response) for stream in streams] == list(range(count))
        end.set()
        assert all(list(stream) == [] for stream in streams)
