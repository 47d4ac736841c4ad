from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from PIL import Image

from inference_service.prediction.request import InferenceResult
from inference_service.protocols.native import codec
from inference_service.wire.tensor_codec import encode_elements, encode_tensor
from pbserve.inference.v1 import inference_pb2 as pb
from pbserve.inference.v1 import inference_pb2_grpc
from service_kit.address import Address, parse_address
from service_kit.server.keepalive import Keepalive
from service_kit.store.artifact_store import ArtifactStore
from tests.support import http2
from tests.support.engines import MeanEngine, pixels
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.tcp_proxy import tcp_proxy

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


def test_a_call_ends_at_its_deadline_though_its_client_never_cancels_it(
    server: InferenceServer,
) -> None:
    server.publish(cards=1)
    (engine,) = server.engines
    (card,) = server.registry.servables()[0].cards
    engine.gate.clear()

    async def ask() -> None:
        async with http2.connected(parse_address(server.address)) as connection:
            connection.call(
                b"/pbserve.inference.v1.InferenceService/Predict",
                request(1).SerializeToString(),
                grpc_timeout=b"200m",
            )
            # The engine never comes back, so that nobody but gRPC can have ended it.
            while not card.status().counts.expired_requests:
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(ask(), WAIT))
    status = card.status()
    assert (status.outstanding_images, status.counts.cancelled_requests) == (0, 0)
    engine.gate.set()


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
    # At most one full batch that ran, one for the last request.
    assert sum(images for _, images in server.engines[0].batches) <= 4 + 1


def test_an_expired_deadline_is_not_computed(server: InferenceServer, stub: Any) -> None:
    server.publish(cards=1)
    server.engines[0].gate.clear()
    first = stub.Predict.future(request(1))
    assert server.engines[0].started.acquire(timeout=WAIT)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request(2), timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    server.engines[0].gate.set()
    assert mean(first.result(WAIT)) == 1
    assert mean(stub.Predict(request(3))) == 3
    assert sum(images for _, images in server.engines[0].batches) == 2


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
    assert bad.retry_in.seconds in {29, 30}
    listed = stub.ListModels(pb.ListModelsRequest()).models[0]
    assert [one.version for one in listed.versions] == [1, 2]
    with pytest.raises(grpc.RpcError, match="no model 'x'; there are m"):
        stub.GetModel(pb.GetModelRequest(model="x"))


def test_an_operator_loads_unloads_and_labels(server: InferenceServer, stub: Any) -> None:
    server.publish(b"1000")
    stub.SetLabel(pb.SetLabelRequest(model="m", label="stable", version=1))
    server.publish(b"2000")
    assert mean(stub.Predict(request(1, label="stable"))) == 1001
    assert mean(stub.Predict(request(1))) == 2001
    with pytest.raises(grpc.RpcError, match="label stable of model m points at version 1") as used:
        stub.UnloadModel(pb.UnloadModelRequest(model="m", version=1))
    assert used.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    stub.SetLabel(pb.SetLabelRequest(model="m", label="stable", version=2))
    stub.UnloadModel(pb.UnloadModelRequest(model="m"))
    assert all(engine.closed for engine in server.engines)
    with pytest.raises(grpc.RpcError) as gone:
        stub.Predict(request(1))
    assert gone.value.code() is grpc.StatusCode.NOT_FOUND
    loaded = stub.LoadModel(pb.LoadModelRequest(model="m", version=1)).version
    assert (loaded.version, loaded.state) == (1, pb.VersionStatus.STATE_AVAILABLE)
    assert loaded.load_time.ToNanoseconds() > 0
    assert mean(stub.Predict(request(1, version=1))) == 1001
    assert stub.GetModel(pb.GetModelRequest(model="m")).model.labels == {"stable": 2}


@pytest.mark.parametrize(
    ("rpc", "fields", "code", "words"),
    [
        ("LoadModel", {"model": "x"}, "NOT_FOUND", "the store has no model 'x'"),
        ("LoadModel", {"model": "m", "version": 9}, "NOT_FOUND", "no version 9 of model m; it ha"),
        ("LoadModel", {"model": "m", "version": -1}, "INVALID_ARGUMENT", "version is -1"),
        ("LoadModel", {"model": "../m"}, "INVALID_ARGUMENT", "model name '../m' is not allowed"),
        ("LoadModel", {"model": "m", "version": 2}, "INTERNAL", "the graph has no tensor probs:0"),
        ("UnloadModel", {"model": "x"}, "NOT_FOUND", "there is no model 'x'; there are m"),
        ("UnloadModel", {"model": "m", "version": 7}, "NOT_FOUND", "has no version 7; it has 1, 2"),
        ("SetLabel", {"model": "m", "label": "A B", "version": 1}, "INVALID_ARGUMENT", "label 'A"),
        ("SetLabel", {"model": "m", "label": "a", "version": 7}, "NOT_FOUND", "has no version 7"),
        (
            "SetLabel",
            {"model": "m", "label": "a", "version": 2},
            "UNAVAILABLE",
            "version 2 is FAIL",
        ),
        ("SetLabel", {"model": "m", "label": "a"}, "NOT_FOUND", "has no label a to remove"),
        ("SetLabel", {"model": "x", "label": "a"}, "NOT_FOUND", "there is no model 'x'"),
    ],
)
def test_bad_orders_get_their_status_and_words(
    server: InferenceServer, stub: Any, rpc: str, fields: dict[str, Any], code: str, words: str
) -> None:
    server.publish()
    server.publish(b"broken")
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, rpc)(getattr(pb, f"{rpc}Request")(**fields))
    assert caught.value.code().name == code
    assert words in str(caught.value.details())
    assert mean(stub.Predict(request(1))) == 1


def test_a_version_that_is_being_loaded_is_unavailable_with_a_time_to_retry(
    server: InferenceServer, stub: Any
) -> None:
    with server.publishing():
        with pytest.raises(grpc.RpcError, match="model m version 1 is LOADING") as caught:
            stub.Predict(request(1))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        details = {one.key: one.value for one in caught.value.trailing_metadata()}
        assert b"RetryInfo" in details["grpc-status-details-bin"]
        status = stub.GetModel(pb.GetModelRequest(model="m")).model.versions[0]
        assert status.state == pb.VersionStatus.STATE_LOADING
    assert mean(stub.Predict(request(1))) == 1


def test_a_model_unloaded_in_the_middle_of_a_stream_fails_requests_one_by_one(
    server: InferenceServer, stub: Any
) -> None:
    server.publish()
    turns = threading.Semaphore(0)

    def requests() -> Iterator[pb.StreamPredictRequest]:
        for n in range(4):
            turns.acquire(timeout=WAIT)
            yield from streamed(request(n, request_id=str(n)))

    answers = stub.StreamPredict(requests())
    turns.release()
    assert mean(next(answers).response) == 0
    stub.UnloadModel(pb.UnloadModelRequest(model="m"))
    turns.release()
    assert next(answers).error.code == code_pb2.NOT_FOUND
    stub.LoadModel(pb.LoadModelRequest(model="m"))
    turns.release(2)
    # On two cards, so either may be first.
    assert sorted(mean(answer.response) for answer in answers) == [2, 3]


def png(width: int, height: int, value: int = 7) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (value,) * 3).save(out, "PNG")
    return out.getvalue()


def test_encoded_images_are_decoded_and_fitted(server: InferenceServer, stub: Any) -> None:
    server.publish(b"5")
    elements = encode_elements([png(2, 2), png(2, 2, value=9)])
    response = stub.Predict(request(inputs={"input": elements}))
    assert list(np.frombuffer(response.outputs["probs"].data, "<f4")) == [12] * 3 + [14] * 3
    larger = encode_elements([png(20, 10)])
    for fit in (pb.IMAGE_FIT_STRETCH, pb.IMAGE_FIT_CROP):
        assert mean(stub.Predict(request(inputs={"input": larger}, image_fit=fit))) == 12
    with pytest.raises(grpc.RpcError, match="image 0 of input 'input' has height 10 and width 20"):
        stub.Predict(request(inputs={"input": larger}))


def test_an_image_that_does_not_decode_is_named(server: InferenceServer, stub: Any) -> None:
    server.publish()
    elements = encode_elements([png(2, 2), png(2, 2)[:-20], b"GIF89a"])
    with pytest.raises(grpc.RpcError, match="image 1 of input 'input' does not decode") as caught:
        stub.Predict(request(inputs={"input": elements}))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"top": -1}, "top is -1"),
        ({"top": 1001}, "top is 1001"),
        ({"priority": 9}, "priority is 9"),
        ({"image_fit": 9}, "image_fit is 9"),
        ({"output_names": ["logits"]}, "has no output 'logits'; it has probs"),
        ({"inputs": {"x": encode_elements([b"1"])}}, "inputs are ['x']; the model takes ['input']"),
        (
            {"inputs": {"input": pb.Tensor(dtype=pb.DATA_TYPE_BYTES, shape=[2], elements=[b"1"])}},
            "has 1 elements and shape [2]",
        ),
    ],
)
def test_bad_options_are_refused(
    server: InferenceServer, stub: Any, fields: dict[str, Any], words: str
) -> None:
    server.publish()
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request(1, **fields))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in str(caught.value.details())


def test_outputs_are_chosen_and_classes_ranked(server: InferenceServer, stub: Any) -> None:
    server.publish()
    image = np.zeros((1, 2, 2, 3), np.float32)
    image[..., :] = [0.25, 3, 0.5]
    response = stub.Predict(request(inputs={"input": encode_tensor(image)}, top=2))
    (best,) = response.top
    assert [(one.index, one.score, one.label) for one in best.classes] == [(1, 3, ""), (2, 0.5, "")]
    assert not response.outputs
    both = stub.Predict(request(1, top=1, output_names=["probs"]))
    assert list(both.outputs) == ["probs"]
    assert len(both.top[0].classes) == 1


def test_a_request_larger_than_a_batch_is_spread_over_idle_cards(
    server: InferenceServer, stub: Any
) -> None:
    server.publish(cards=3)
    response = stub.Predict(request(*range(24)))
    values = np.frombuffer(response.outputs["probs"].data, "<f4").reshape(-1, 3)[:, 0]
    assert list(values) == list(range(24))
    assert sorted(response.cards) == [0, 1, 2]
    assert response.card == response.cards[0]
    # A card of its own keeps it whole.
    pinned = stub.Predict(request(*range(24), card=1))
    assert list(pinned.cards) == [1]


def test_large_answers_become_messages_beside_the_event_loop(
    server: InferenceServer, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish()
    threads: list[int] = []
    made = codec.answer_message

    def noting(answer: InferenceResult, message: pb.PredictResponse) -> pb.PredictResponse:
        threads.append(threading.get_ident())
        return made(answer, message)

    monkeypatch.setattr(codec, "answer_message", noting)
    assert len(stub.Predict(request(1, 2, top=3)).top) == 2
    assert len(stub.Predict(request(*range(400), top=3)).top) == 400
    loop = server.on_loop(threading.get_ident)
    assert threads[0] == loop
    assert threads[1] != loop


def test_requests_for_a_card_run_nowhere_else(server: InferenceServer, stub: Any) -> None:
    server.publish(cards=3)
    list(stub.StreamPredict(streamed(*(request(n, card=1) for n in range(60)))))
    assert {card for card, _ in server.engines[0].batches} == {1}
    assert sum(images for _, images in server.engines[0].batches) == 60


def test_a_poisoned_request_in_a_stream_hurts_only_itself(
    server: InferenceServer, stub: Any
) -> None:
    server.publish(cards=1)
    server.engines[0].gate.clear()
    first = stub.Predict.future(request(0))
    assert server.engines[0].started.acquire(timeout=WAIT)
    values = [1.0, MeanEngine.poison, 3.0, 4.0]
    answers = stub.StreamPredict(streamed(*(request(v) for v in values), in_order=True))
    status = stub.GetModel(pb.GetModelRequest(model="m"))
    while status.model.versions[0].cards[0].outstanding_images < 5:
        status = stub.GetModel(pb.GetModelRequest(model="m"))
    server.engines[0].gate.set()
    got = list(answers)
    assert [a.WhichOneof("result") for a in got] == ["response", "error", "response", "response"]
    assert "poisoned" in got[1].error.message
    assert mean(first.result(WAIT)) == 0
    # It was in a full batch, which was tried again request by request.
    assert [images for _, images in server.engines[0].batches] == [1, 4, 1, 1, 1, 1]


def test_a_message_above_the_limit_is_refused(server: InferenceServer, stub: Any) -> None:
    server.publish()
    with pytest.raises(grpc.RpcError, match="larger than max") as caught:
        stub.Predict(request(*range(30_000)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert mean(stub.Predict(request(1))) == 1


def test_an_answer_above_the_limit_is_an_error_of_its_request_alone(
    server: InferenceServer, stub: Any
) -> None:
    server.publish()
    many = pixels(*([1.0] * 30_000), dtype="uint8")
    large = request(inputs={"input": encode_tensor(many)}, output_names=["probs"], top=3)
    refused = threading.Event()

    def requests() -> Iterator[pb.StreamPredictRequest]:
        yield from streamed(large)
        # Until then the queue is full of it.
        assert refused.wait(WAIT)
        yield from streamed(request(3))

    answers = stub.StreamPredict(requests())
    first = next(answers)
    assert first.error.code == code_pb2.RESOURCE_EXHAUSTED
    assert "ask for fewer images" in first.error.message
    refused.set()
    assert [mean(one.response) for one in answers] == [3]


def test_a_card_that_is_out_of_order_is_shown_and_avoided(
    server: InferenceServer, stub: Any
) -> None:
    server.publish(cards=2)
    server.engines[0].broken_cards.add(0)
    cards = stub.GetModel(pb.GetModelRequest(model="m")).model.versions[0].cards
    while cards[0].healthy:
        with contextlib.suppress(grpc.RpcError):
            stub.Predict(request(1, card=0))
        cards = stub.GetModel(pb.GetModelRequest(model="m")).model.versions[0].cards
    with pytest.raises(grpc.RpcError, match="card 0 is out of order") as caught:
        stub.Predict(request(1, card=0))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert cards[1].healthy
    assert "the device is gone" in cards[0].last_error
    assert {stub.Predict(request(n)).card for n in range(5)} == {1}


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


async def test_a_thousand_open_streams_are_answered(server: InferenceServer) -> None:
    server.publish()
    count = 1000
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
        streams = [stub.StreamPredict() for _ in range(count)]
        for turn in range(2):
            for n, stream in enumerate(streams):
                await stream.write(next(streamed(request(float(turn * count + n)))))
            answers = [await stream.read() for stream in streams]
            assert [mean(a.response) for a in answers] == [turn * count + n for n in range(count)]
        for stream in streams:
            await stream.done_writing()
        assert [await stream.read() for stream in streams] == [grpc.aio.EOF] * count


async def test_a_client_that_has_vanished_frees_its_stream_and_its_places(
    store: ArtifactStore, tmp_path: Path
) -> None:
    options = {
        "keepalive": Keepalive(seconds=0.1, timeout_seconds=0.1),
        "max_connection_streams": 1,
    }

    def outstanding() -> int:
        card = near.GetModel(pb.GetModelRequest(model="m")).model.versions[0].cards[0]
        return int(card.outstanding_images)

    async def until(images: int) -> None:
        while await asyncio.to_thread(outstanding) != images:
            await asyncio.sleep(0.01)

    with (
        inference_server(store, tmp_path, window=8, server_options=options) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        server.publish(cards=1)
        near: Any = inference_pb2_grpc.InferenceServiceStub(channel)
        server.engines[0].gate.clear()
        host, _, port = server.address.rpartition(":")
        async with (
            tcp_proxy(Address(host, int(port))) as proxy,
            grpc.aio.insecure_channel(proxy.address) as far,
        ):
            lost: Any = inference_pb2_grpc.InferenceServiceStub(far)
            call = lost.StreamPredict(streamed(*[request(n) for n in range(20)]))
            reading = asyncio.create_task(call.read())
            # Its window is full: what is in the engine, and what waits.
            await until(8)
            proxy.vanish()
            await until(0)
            assert server.on_loop(lambda: server.core.streams._open) == {}
            reading.cancel()
