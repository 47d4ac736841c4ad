from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from inference_service.protocols.open_inference.stream import _WANTS_STATUS
from service_kit import errors
from service_kit.status import from_rpc_error
from service_kit.store.artifact_store import ArtifactStore
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.triton import code_of, image_input, message, stub

Answers = queue.Queue[tuple[Any, InferenceServerException | None]]


@contextlib.contextmanager
def streaming(client: Any, **options: Any) -> Iterator[Answers]:
    """Opens the client's stream; what comes goes into the queue."""
    answers: Answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), **options)
    try:
        yield answers
    finally:
        client.stop_stream()


def send(client: Any, *values: float, id_: str = "", model: str = "m", **options: Any) -> None:
    client.async_stream_infer(model, [image_input(*values)], request_id=id_, **options)


def test_answers_come_in_the_order_of_the_requests(server: InferenceServer, client: Any) -> None:
    server.publish()
    with streaming(client) as answers:
        for number in range(50):
            send(client, number, id_=str(number))
        for number in range(50):
            result, error = answers.get(timeout=30)
            assert error is None
            assert result.get_response().id == str(number)
            assert result.as_numpy("probs")[0, 0] == number


def test_a_slow_card_does_not_change_the_order(server: InferenceServer) -> None:
    server.publish()
    engine = server.engines[0]
    engine.gate.clear()
    with grpc.insecure_channel(server.address) as channel:
        requests = [message(-1 if number == 0 else number, id=str(number)) for number in range(6)]
        answers = stub(channel).ModelStreamInfer(iter(requests))
        assert engine.started.acquire(timeout=30)
        engine.gate.set()
        assert [answer.infer_response.id for answer in answers] == list("012345")


def test_an_error_belongs_to_its_request_and_the_stream_stays_open(
    server: InferenceServer, client: Any
) -> None:
    server.publish()
    with streaming(client) as answers:
        send(client, 1, id_="a")
        send(client, 2, id_="b", model="absent")
        send(client, -1, id_="c")
        send(client, 4, id_="d", parameters={"card": 9})
        send(client, 5, id_="e")
        found = [answers.get(timeout=30) for _ in range(5)]
    told = [error.message() if error else None for _, error in found]
    assert told[0] is told[4] is None
    assert str(told[1]).startswith("Request for unknown model: there is no model 'absent'")
    assert "poisoned" in str(told[2])
    assert "has no card 9" in str(told[3])
    assert found[4][0].as_numpy("probs")[0, 0] == 5


def test_the_error_names_the_request(server: InferenceServer) -> None:
    server.publish()
    with grpc.insecure_channel(server.address) as channel:
        requests = [message(1, model="absent", id="me"), message(1, id="next")]
        failed, answered = stub(channel).ModelStreamInfer(iter(requests))
    assert failed.error_message
    assert failed.infer_response == pb.ModelInferResponse(id="me")
    assert not answered.error_message
    assert answered.infer_response.id == "next"


def test_who_asks_for_it_gets_the_status_and_the_end_of_the_stream(
    server: InferenceServer, client: Any
) -> None:
    server.publish()
    with streaming(client, headers={"triton_grpc_error": "true"}) as answers:
        send(client, 1)
        assert answers.get(timeout=30)[1] is None
        send(client, 2, model="absent")
        _, error = answers.get(timeout=30)
        assert error is not None
        assert code_of(error) == "NOT_FOUND"
        assert error.message().startswith("Request for unknown model: ")


@pytest.mark.parametrize("value", ["false", "True", "1", ""])
def test_only_the_word_true_asks_for_it(server: InferenceServer, value: str) -> None:
    server.publish()
    with grpc.insecure_channel(server.address) as channel:
        requests = [message(1, model="absent"), message(1)]
        metadata = [(_WANTS_STATUS, value)]
        answers = list(stub(channel).ModelStreamInfer(iter(requests), metadata=metadata))
    assert [bool(answer.error_message) for answer in answers] == [True, False]


def test_the_last_response_of_a_request_is_marked_for_who_asks(
    server: InferenceServer, client: Any
) -> None:
    server.publish()
    with streaming(client) as answers:
        send(client, 1, enable_empty_final_response=True)
        send(client, 1)
        marked, plain = (answers.get(timeout=30)[0].get_response() for _ in range(2))
    assert marked.parameters["triton_final_response"].bool_param
    assert marked.outputs
    assert "triton_final_response" not in plain.parameters


def test_unary_answers_are_not_marked(server: InferenceServer) -> None:
    server.publish()
    request = message(1)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    with grpc.insecure_channel(server.address) as channel:
        assert "triton_final_response" not in stub(channel).ModelInfer(request).parameters


async def test_the_asyncio_client_streams_too(server: InferenceServer) -> None:
    server.publish()

    async def requests() -> Any:
        for number in range(20):
            yield {
                "model_name": "m" if number != 7 else "absent",
                "inputs": [image_input(number)],
                "request_id": str(number),
            }

    async with triton_aio.InferenceServerClient(server.address) as client:
        result = await client.infer("m", [image_input(3)])
        assert result.as_numpy("probs")[0, 0] == 3
        with pytest.raises(InferenceServerException, match="unknown model"):
            await client.infer("absent", [image_input(3)])
        number = 0
        async for result, error in client.stream_infer(requests()):
            assert (error is None) == (number != 7)
            if error is None:
                assert result.as_numpy("probs")[0, 0] == number
            number += 1
        assert number == 20


def test_a_message_that_is_none_ends_the_stream_as_the_callers_error(
    server: InferenceServer,
) -> None:
    server.publish()
    with grpc.insecure_channel(server.address) as channel:
        call: Any = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        answers = call(iter([message(1).SerializeToString(), b"\xff\xff"]))
        assert next(answers)
        with pytest.raises(grpc.RpcError) as raised:
            next(answers)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_reads_no_further_than_its_window(store: ArtifactStore, tmp_path: Any) -> None:
    with inference_server(store, tmp_path, window=2) as server:
        server.publish(cards=1)
        engine = server.engines[0]
        engine.gate.clear()
        sent: list[int] = []

        def requests() -> Iterator[Any]:
            for number in range(8):
                sent.append(number)
                yield message(number)

        with grpc.insecure_channel(server.address) as channel:
            answers = stub(channel).ModelStreamInfer(requests())
            assert engine.started.acquire(timeout=30)
            card = server.on_loop(lambda: server.registry.servables()[0].cards[0])
            while len(sent) < 2 or server.on_loop(lambda: card.status().outstanding_images) < 2:
                pass
            assert server.on_loop(lambda: card.status().outstanding_images) == 2
            engine.gate.set()
            assert len(list(answers)) == 8


def test_a_server_that_stops_answers_what_it_has_read_and_says_so(
    store: ArtifactStore, tmp_path: Any
) -> None:
    more: queue.Queue[Any] = queue.Queue()
    get: Callable[[], Any] = more.get
    with inference_server(store, tmp_path) as server:
        server.publish()
        with grpc.insecure_channel(server.address) as channel:
            answers = stub(channel).ModelStreamInfer(iter(get, None))
            more.put(message(1))
            assert not next(answers).error_message
            server.call(server.server.drain(lame_duck_seconds=0, grace_seconds=5))
            with pytest.raises(grpc.RpcError) as raised:
                next(answers)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert from_rpc_error(raised.value).reason == "SERVER_STOPPING"
            more.put(None)


def test_streams_leave_nothing_when_their_client_goes(server: InferenceServer, client: Any) -> None:
    server.publish(cards=1)
    engine = server.engines[0]
    engine.gate.clear()
    with grpc.insecure_channel(server.address) as channel:
        answers = stub(channel).ModelStreamInfer(iter([message(n) for n in range(4)]))
        assert engine.started.acquire(timeout=30)
        answers.cancel()
        engine.gate.set()
    card = server.on_loop(lambda: server.registry.servables()[0].cards[0])
    while server.on_loop(lambda: card.status().outstanding_images):
        pass
    result = client.infer("m", [image_input(1)])
    np.testing.assert_array_equal(result.as_numpy("probs"), [[1, 1, 1]])


def test_a_stream_ends_in_order_at_its_connections_age(
    store: ArtifactStore, tmp_path: Path
) -> None:
    options = {"connection_seconds": 0.3}
    with inference_server(store, tmp_path, server_options=options) as server:
        server.publish()
        ended = threading.Event()
        # Of requests without an answer, fewer than the server reads.
        places = threading.Semaphore(24)
        sent = 0

        def requests() -> Iterator[pb.ModelInferRequest]:
            nonlocal sent
            while places.acquire() and not ended.is_set():
                yield message(sent, id=str(sent))
                sent += 1

        with grpc.insecure_channel(server.address) as channel:
            found: list[str] = []
            answers = stub(channel).ModelStreamInfer(requests())

            def take() -> None:
                for answer in answers:
                    found.append(answer.infer_response.id)
                    places.release()

            with pytest.raises(grpc.RpcError) as caught:
                take()
            ended.set()
            places.release()
            # No hole: what was read was answered, and nothing else was read.
            assert found == [str(number) for number in range(len(found))]
            assert 0 < len(found) < sent
            error = from_rpc_error(caught.value)
            assert isinstance(error, errors.ServerStopping)
            assert "--max-connection-age" in error.message
            assert error.retry_after == 0.0
            # A new connection is there for the asking.
            assert stub(channel).ServerLive(pb.ServerLiveRequest()).live


def test_what_a_client_had_sent_in_full_is_answered_at_its_connections_age(
    store: ArtifactStore, tmp_path: Path
) -> None:
    options = {"connection_seconds": 0.1}
    with inference_server(store, tmp_path, server_options=options) as server:
        server.publish()
        engine = server.engines[0]
        engine.gate.clear()
        with grpc.insecure_channel(server.address) as channel:
            answers = stub(channel).ModelStreamInfer(iter([message(7, id="a")]))
            assert engine.started.acquire(timeout=30)
            server.call(asyncio.sleep(0.2))
            engine.gate.set()
            assert [answer.infer_response.id for answer in answers] == ["a"]
            assert answers.code() is grpc.StatusCode.OK
