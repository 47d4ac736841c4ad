from __future__ import annotations

import gc
import io
import itertools
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference_service.client import InferenceClient, RetryPolicy
from inference_service.client.codec import Inputs, RequestOptions
from inference_service.client.results import StreamAnswer
from inference_service.wire.scored_class import ScoredClass
from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer, inference_server


@pytest.fixture
def client(server: InferenceServer) -> Iterator[InferenceClient]:
    with InferenceClient(server.address) as opened:
        yield opened


def test_predict_takes_and_gives_arrays(server: InferenceServer, client: InferenceClient) -> None:
    server.publish(b"5")
    prediction = client.predict("m", pixels(1, 2, dtype="uint8"), card=1)
    np.testing.assert_allclose(prediction.outputs["probs"][:, 0], [6, 7])
    assert (prediction.model, prediction.version, prediction.card) == ("m", 1, 1)


def test_predict_raises_what_the_server_raised(
    server: InferenceServer, client: InferenceClient
) -> None:
    server.publish()
    with pytest.raises(errors.CardNotFound, match="no card 9"):
        client.predict("m", pixels(1), card=9)
    with pytest.raises(errors.InvalidTensor, match="float64"):
        client.predict("m", pixels(1, dtype="float64"))


def test_a_stream_yields_every_answer_with_its_index(
    server: InferenceServer, client: InferenceClient
) -> None:
    server.publish()
    groups = (pixels(n) for n in range(300))
    answers = list(client.stream("m", groups, window=16))
    found = {a.index: a.result().outputs["probs"][0, 0] for a in answers}
    assert found == {n: n for n in range(300)}


def test_a_stream_can_keep_the_order(server: InferenceServer, client: InferenceClient) -> None:
    server.publish()
    answers = client.stream("m", (pixels(n) for n in range(300)), in_request_order=True)
    assert [answer.index for answer in answers] == list(range(300))


def test_an_error_belongs_to_its_answer(server: InferenceServer, client: InferenceClient) -> None:
    server.publish()
    groups = [pixels(1), pixels(1, dtype="float64"), pixels(3)]
    first, second, third = client.stream("m", groups, in_request_order=True)
    assert first.result().outputs["probs"][0, 0] == 1
    with pytest.raises(errors.InvalidTensor):
        second.result()
    assert third.result().outputs["probs"][0, 0] == 3


def test_the_window_bounds_what_is_in_flight(
    server: InferenceServer, client: InferenceClient
) -> None:
    server.publish(cards=1)
    server.engines[0].started = threading.Semaphore(0)
    server.engines[0].gate.clear()
    taken = []

    def groups() -> Iterator[np.ndarray]:
        for n in range(50):
            taken.append(n)
            yield pixels(n)

    answers = client.stream("m", groups(), window=5)
    reader = threading.Thread(target=lambda: list(answers))
    reader.start()
    assert server.engines[0].started.acquire(timeout=30)
    # One more is taken from the caller and waits for its place.
    while len(taken) < 6:
        client.models()
    for _ in range(20):
        client.models()
    assert len(taken) == 6
    server.engines[0].gate.set()
    reader.join(30)
    assert len(taken) == 50


def test_what_the_callers_groups_raise_reaches_the_caller(
    server: InferenceServer, client: InferenceClient
) -> None:
    server.publish()

    def groups() -> Iterator[np.ndarray]:
        yield pixels(1)
        raise FileNotFoundError("b.png")

    answers = client.stream("m", groups())
    assert next(answers).index == 0
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        list(answers)


def test_leaving_a_stream_early_ends_it(server: InferenceServer, client: InferenceClient) -> None:
    server.publish()
    ended = threading.Event()

    def groups() -> Iterator[np.ndarray]:
        try:
            while True:
                yield pixels(1)
        finally:
            ended.set()

    answers = client.stream("m", groups(), window=2)
    next(answers)
    answers.close()
    assert ended.wait(30)
    assert client.predict("m", pixels(4)).outputs["probs"][0, 0] == 4


def test_a_server_that_goes_away_is_a_clear_error(store: ArtifactStore, tmp_path: Path) -> None:
    with inference_server(store, tmp_path) as server:
        client = InferenceClient(server.address)
    with pytest.raises(errors.ServerStopping, match="nothing listens on "):
        client.predict("m", pixels(1))
    client.close()


def test_waits_until_a_model_is_ready(server: InferenceServer, client: InferenceClient) -> None:
    client.wait_until_ready(timeout=30)
    publishing = threading.Timer(0.1, server.publish)
    publishing.start()
    client.wait_until_ready("m", timeout=30)
    assert client.predict("m", pixels(1)).version == 1
    publishing.join()


def test_waiting_for_what_never_comes_ends(
    server: InferenceServer, client: InferenceClient
) -> None:
    with pytest.raises(errors.DeadlineExpired, match="model x was not ready within"):
        client.wait_until_ready("x", timeout=0.2)


def test_models_are_typed(server: InferenceServer, client: InferenceClient) -> None:
    server.publish()
    (model,) = client.models()
    assert model == client.model("m")
    assert model.versions[0].state == "AVAILABLE"
    assert model.versions[0].cards[1].inputs[0].tensor_name == "Card_1/input:0"


@pytest.mark.parametrize("client", ["inference_service.client", "exporter_service.client"])
def test_importing_a_client_loads_nothing_heavy(client: str) -> None:
    code = (
        f"import sys, {client}; "
        "print(*sorted({name.split('.')[0] for name in sys.modules}), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert {"grpc", "numpy"} <= loaded
    assert not loaded & {
        "tensorflow", "keras", "tritonclient", "tensorflow_serving", "onnx", "onnxruntime",
        "PIL", "typer", "click", "rich", "aiohttp", "jinja2", "pydantic", "pydantic_core",
        "structlog", "fsspec", "yaml", "uvloop", "ml_dtypes", "prometheus_client", "opentelemetry",
    }  # fmt: skip


def test_operators_load_unload_and_label(server: InferenceServer, client: InferenceClient) -> None:
    server.publish(b"10")
    server.publish(b"20")
    loaded = client.load("m", 1)
    assert (loaded.version, loaded.state, loaded.leases) == (1, "AVAILABLE", 0)
    assert loaded.load_seconds is not None
    client.set_label("m", "stable", 1)
    assert client.model("m").labels == {"stable": 1}
    assert client.predict("m", pixels(1), label="stable").outputs["probs"][0, 0] == 11
    assert client.predict("m", pixels(1)).version == 2
    with pytest.raises(errors.LabelInUse):
        client.unload("m", 1)
    client.set_label("m", "stable", 0)
    client.unload("m")
    with pytest.raises(errors.ModelNotFound):
        client.predict("m", pixels(1))
    with pytest.raises(errors.ModelNotFound, match="the store has no model 'x'"):
        client.load("x")


def test_options_of_requests_are_sent(server: InferenceServer, client: InferenceClient) -> None:
    server.publish()
    options: RequestOptions = {"top": 2, "output_names": ["probs"], "priority": "bulk", "card": 1}
    prediction = client.predict("m", pixels(1, 2), **options)
    assert [len(classes) for classes in prediction.top] == [2, 2]
    assert prediction.top[1][0] == ScoredClass(0, 2.0, "")
    assert list(prediction.outputs) == ["probs"]
    (answer,) = client.stream("m", [pixels(5)], **options)
    assert (answer.result().card, answer.result().top[0][0].score) == (1, 5.0)
    with pytest.raises(errors.InvalidRequest, match="priority 'low' is one of interactive, bulk"):
        client.predict("m", pixels(1), priority="low")  # type: ignore[arg-type]


def test_encoded_images_are_a_list_of_bytes(
    server: InferenceServer, client: InferenceClient
) -> None:
    server.publish()
    encoded = io.BytesIO()
    Image.new("RGB", (6, 4), (9, 9, 9)).save(encoded, "PNG")
    prediction = client.predict("m", [encoded.getvalue()] * 2, image_fit="stretch")
    assert prediction.outputs["probs"].tolist() == [[9] * 3] * 2
    with pytest.raises(errors.InvalidTensor, match="image 1 of input 'input' does not decode"):
        client.predict("m", [encoded.getvalue(), b"?"], image_fit="stretch")


def test_what_keeps_a_server_behind_is_told(
    server: InferenceServer, client: InferenceClient
) -> None:
    assert client.problems() == ()
    hidden = Path(server.store.url).rename(server.folder / "hidden")
    server.call(server.view.look())
    (problem,) = client.problems()
    assert "models" in problem
    hidden.rename(server.store.url)


def test_both_clients_come_from_one_module() -> None:
    from inference_service import client

    assert {"InferenceClient", "AsyncInferenceClient", "RetryPolicy", "Tls"} <= set(client.__all__)


def test_files_paths_and_pillow_images_are_taken(
    server: InferenceServer, client: InferenceClient, tmp_path: Path
) -> None:
    server.publish()
    path = tmp_path / "a.png"
    Image.new("RGB", (6, 4), (9, 9, 9)).save(path)
    mixed = client.predict("m", [path, str(path), path.read_bytes()], image_fit="stretch")
    assert mixed.outputs["probs"].tolist() == [[9] * 3] * 3
    for one in (path, str(path), path.read_bytes()):
        assert client.predict("m", one, image_fit="crop").outputs["probs"].tolist() == [[9] * 3]
    small = Image.new("L", (2, 2), 7)
    assert client.predict("m", small).outputs["probs"].tolist() == [[7] * 3]
    assert client.predict("m", {"input": [small, small]}).outputs["probs"].shape == (2, 3)
    with pytest.raises(errors.InvalidRequest, match=r"no\.png cannot be read"):
        client.predict("m", tmp_path / "no.png")


def test_a_file_that_cannot_be_read_costs_its_own_answer(
    server: InferenceServer, client: InferenceClient, tmp_path: Path
) -> None:
    server.publish()
    groups: list[Inputs] = [pixels(1), tmp_path / "no.png", pixels(3)]
    first, second, third = client.stream("m", groups, in_request_order=True)
    assert first.result().outputs["probs"][0, 0] == 1
    with pytest.raises(errors.InvalidRequest, match=r"no\.png cannot be read"):
        second.result()
    assert third.result().outputs["probs"][0, 0] == 3


def test_errors_of_this_side_are_told_without_waiting_for_the_server(
    server: InferenceServer, client: InferenceClient
) -> None:
    # Each takes the only place, and nothing is under way that could bring an answer.
    answers = list(client.stream("m", (f"/nowhere/{n}.png" for n in range(5)), window=1))
    assert [answer.index for answer in answers] == list(range(5))
    assert all(isinstance(answer.error, errors.InvalidRequest) for answer in answers)


def test_a_stream_of_nothing_has_no_answers(client: InferenceClient) -> None:
    assert list(client.stream("m", [])) == []


def test_options_of_a_stream_are_checked_at_once(client: InferenceClient) -> None:
    with pytest.raises(errors.InvalidRequest, match="priority 'low'"):
        client.stream("m", [], priority="low")  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidRequest, match="window 0"):
        client.stream("m", [], window=0)
    with pytest.raises(errors.InvalidRequest, match="timeout -1"):
        client.stream("m", [], timeout=-1)


def test_a_full_queue_loses_nothing_of_a_stream(store: ArtifactStore, tmp_path: Path) -> None:
    with inference_server(store, tmp_path, queue_images=2) as server:
        server.publish(cards=1)
        patient = RetryPolicy(stream_attempts=1000, first_pause=0.01)
        with InferenceClient(server.address, retry=patient) as client:
            server.engines[0].gate.clear()
            answers = client.stream("m", (pixels(n) for n in range(100)), window=20)
            found: list[StreamAnswer] = []
            reader = threading.Thread(target=lambda: found.extend(answers))
            reader.start()
            while client.model("m").versions[0].cards[0].counts.refused_requests < 20:
                assert reader.is_alive()
            server.engines[0].gate.set()
            reader.join()
        assert {a.index: a.result().outputs["probs"][0, 0] for a in found} == {
            n: n for n in range(100)
        }


def test_the_only_group_under_way_is_sent_again(store: ArtifactStore, tmp_path: Path) -> None:
    with inference_server(store, tmp_path, queue_images=1) as server:
        server.publish(cards=1)
        server.engines[0].gate.clear()
        patient = RetryPolicy(stream_attempts=1000, first_pause=0.01, longest_pause=0.01)
        with InferenceClient(server.address, retry=patient) as client:
            first = threading.Thread(target=lambda: client.predict("m", pixels(1)))
            first.start()
            assert server.engines[0].started.acquire(timeout=30)
            found: list[StreamAnswer] = []
            answers = client.stream("m", [pixels(2)])
            second = threading.Thread(target=lambda: found.extend(answers))
            second.start()
            while client.model("m").versions[0].cards[0].counts.refused_requests < 3:
                assert second.is_alive()
            server.engines[0].gate.set()
            first.join()
            second.join()
    assert [answer.result().outputs["probs"][0, 0] for answer in found] == [2]


def test_a_queue_that_stays_full_is_the_answer(store: ArtifactStore, tmp_path: Path) -> None:
    with inference_server(store, tmp_path, queue_images=1) as server:
        server.publish(cards=1)
        server.engines[0].gate.clear()
        few = RetryPolicy(attempts=2, stream_attempts=2, first_pause=0.001)
        with InferenceClient(server.address, retry=few) as client:
            answers = client.stream("m", [pixels(1), pixels(2)], window=2)
            refused = next(answers)
            assert isinstance(refused.error, errors.QueueFull)
            with pytest.raises(errors.QueueFull):
                client.predict("m", pixels(3))
            server.engines[0].gate.set()
            assert next(answers).error is None


def test_a_deadline_ends_a_stream_wherever_it_waits(
    server: InferenceServer, client: InferenceClient
) -> None:
    server.publish(cards=1)
    waiting = threading.Event()

    def groups() -> Iterator[np.ndarray]:
        yield pixels(1)
        waiting.wait(30)

    with pytest.raises(errors.DeadlineExpired):
        list(client.stream("m", groups(), timeout=0.3))
    server.engines[0].gate.clear()
    # The server may say so first, of the group.
    with pytest.raises(errors.DeadlineExpired):
        [answer.result() for answer in client.stream("m", [pixels(1)], timeout=0.3)]
    waiting.set()

    def never() -> Iterator[np.ndarray]:
        waiting.wait(30)
        yield from ()

    waiting.clear()
    with pytest.raises(errors.DeadlineExpired):
        list(client.stream("m", never(), timeout=0.1))
    waiting.set()


def test_a_stream_that_is_left_frees_threads_and_groups(
    server: InferenceServer, client: InferenceClient
) -> None:
    server.publish()
    before = threading.active_count()
    group = pixels(1)
    alive = weakref.ref(group)
    answers = client.stream("m", itertools.repeat(group), window=4)
    next(answers)
    del group, answers
    while threading.active_count() > before or alive() is not None:
        gc.collect()


def test_a_stream_that_was_never_begun_sends_nothing(
    server: InferenceServer, client: InferenceClient
) -> None:
    taken: list[int] = []

    def groups() -> Iterator[np.ndarray]:
        taken.append(1)
        yield pixels(1)

    before = threading.active_count()
    client.stream("m", groups())
    client.models()
    assert (taken, threading.active_count()) == ([], before)


def test_closing_the_client_ends_its_streams(server: InferenceServer) -> None:
    server.publish(cards=1)
    server.engines[0].gate.clear()
    client = InferenceClient(server.address)
    answers = client.stream("m", [pixels(1)])

    def close() -> None:
        assert server.engines[0].started.acquire(timeout=30)
        client.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises((errors.PbserveError, RuntimeError)):
        next(answers)
    closing.join()


def test_streams_may_share_a_client(server: InferenceServer, client: InferenceClient) -> None:
    server.publish()
    found: dict[int, list[int]] = {}

    def run(number: int) -> None:
        answers = client.stream("m", (pixels(n) for n in range(50)), window=4)
        found[number] = sorted(int(a.result().outputs["probs"][0, 0]) for a in answers)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: list(range(50)) for number in range(6)}


def test_what_operators_ask_for_may_be_repeated(
    server: InferenceServer, client: InferenceClient
) -> None:
    server.publish()
    assert client.load("m", 1) == client.load("m", 1)
    for _ in range(2):
        client.set_label("m", "stable", 1)
    assert client.model("m").labels == {"stable": 1}
