from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference_service.client import InferenceClient
from inference_service.client_codec import RequestOptions
from inference_service.results import ScoredClass
from service_kit import errors
from service_kit.artifact_store import ArtifactStore
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
    answers.close()  # type: ignore[attr-defined]
    assert ended.wait(30)
    assert client.predict("m", pixels(4)).outputs["probs"][0, 0] == 4


def test_a_server_that_goes_away_is_a_clear_error(store: ArtifactStore, tmp_path: Path) -> None:
    with inference_server(store, tmp_path) as server:
        client = InferenceClient(server.address)
    with pytest.raises(errors.ServerStopping, match="cannot reach the server"):
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


def test_importing_the_client_does_not_import_tensorflow() -> None:
    code = (
        "import sys, inference_service.client, exporter_service.client; "
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
    server.call(server.hot.look())
    (problem,) = client.problems()
    assert "models" in problem
    hidden.rename(server.store.url)
