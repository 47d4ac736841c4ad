"""A running server, as its metrics tell of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from inference_service.client import InferenceClient
from service_kit import errors
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer
from tests.support.metrics import Scrape, matchers, metrics_port, queried, scrape

HOSTILE = 'x",version="9"}\n# TYPE evil counter\nevil 1'


@pytest.fixture
def url(server: InferenceServer) -> Iterator[str]:
    with metrics_port(server) as opened:
        yield opened


@pytest.fixture
def client(server: InferenceServer) -> Iterator[InferenceClient]:
    with InferenceClient(server.address) as opened:
        yield opened


def requests(found: Scrape, **labels: str) -> float:
    return found.value("pbserve_requests_total", **labels)


def test_requests_count_by_origin_answerer_and_code(
    server: InferenceServer, client: InferenceClient, url: str
) -> None:
    server.publish()
    client.predict("m", pixels(1.0, 2.0), card=1)
    with pytest.raises(errors.InvalidTensor):
        client.predict("m", np.zeros((1, 5, 5, 3), np.float32), card=0)
    with pytest.raises(errors.ModelNotFound):
        client.predict("nobody", pixels(1.0))
    found = scrape(url)
    common = {"protocol": "pbserve", "method": "Predict"}
    served = {**common, "model": "m", "version": "1"}
    assert requests(found, **served, card="1", code="OK") == 1
    assert requests(found, **served, card="0", code="INVALID_ARGUMENT") == 1
    assert requests(found, **common, model="", version="", card="", code="NOT_FOUND") == 1
    counted = [value for value in found.samples("pbserve_requests_total").values() if value]
    assert counted == [1, 1, 1]
    assert found.value("pbserve_images_total", model="m", version="1") == 2
    calls = {"service": "pbserve.inference.v1.InferenceService", "method": "Predict"}
    assert found.value("pbserve_calls_total", **calls, code="OK") == 1
    assert found.value("pbserve_calls_total", **calls, code="INVALID_ARGUMENT") == 1


def test_what_rules_and_panels_ask_for_is_there_before_the_first_request(
    server: InferenceServer, url: str
) -> None:
    """A scaler takes what is not there for an error, and `rate` overlooks a series' first value."""
    server.publish()
    found = scrape(url)
    names = queried("pbserve")
    assert {"pbserve_queue_seconds_bucket", "pbserve_requests_total"} <= names
    assert [name for name in sorted(names) if not found.samples(name)] == []
    assert found.value("pbserve_queue_seconds_sum", model="m", version="1") == 0
    for name, label, values in matchers("pbserve"):
        for value in values:
            assert found.samples(name, **{label: value}), (name, value)


def test_zeros_begin_with_a_version_and_end_with_it(server: InferenceServer, url: str) -> None:
    server.publish(b"1")
    assert requests(scrape(url), model="m", version="1", code="INTERNAL") == 0
    server.publish(b"2")
    found = scrape(url)
    assert {dict(labels)["version"] for labels in found.samples("pbserve_images_total")} == {"2"}


def test_requests_inside_streams_count_one_by_one(
    server: InferenceServer, client: InferenceClient, url: str
) -> None:
    server.publish(cards=1)
    groups = [pixels(float(value)) for value in range(5)]
    answers = list(client.stream("m", [*groups, np.zeros((1, 5, 5, 3), np.float32)]))
    assert len(answers) == 6
    found = scrape(url)
    in_stream = {"method": "StreamPredict", "model": "m"}
    assert requests(found, **in_stream, code="OK") == 5
    assert requests(found, **in_stream, code="INVALID_ARGUMENT") == 1


def test_every_protocol_has_its_name(server: InferenceServer, url: str) -> None:
    server.publish(cards=1)
    with contextlib.closing(tritonclient.grpc.InferenceServerClient(server.address)) as triton:
        tensor = tritonclient.grpc.InferInput("input", [1, 2, 2, 3], "FP32")
        tensor.set_data_from_numpy(pixels(1.0))
        triton.infer("m", [tensor])
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["input"].dtype = 1
    request.inputs["input"].tensor_content = pixels(1.0).tobytes()
    for size in (1, 2, 2, 3):
        request.inputs["input"].tensor_shape.dim.add(size=size)
    with grpc.insecure_channel(server.address) as channel:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    found = scrape(url)
    for protocol, method in (("open_inference", "ModelInfer"), ("tensorflow_serving", "Predict")):
        assert requests(found, protocol=protocol, method=method, model="m", code="OK") == 1


def test_nothing_that_callers_make_up_becomes_a_label(
    server: InferenceServer, client: InferenceClient, url: str
) -> None:
    server.publish()
    before = len(scrape(url).text.splitlines())
    for number in range(20):
        for call in (
            lambda name=f"{HOSTILE}{number}": client.predict(name, pixels(1.0)),
            lambda number=number: client.predict("m", pixels(1.0), version=1000 + number),
            lambda label=f"{HOSTILE}{number}": client.predict("m", pixels(1.0), label=label),
            lambda number=number: client.predict("m", pixels(1.0), card=1000 + number),
            lambda name=f"{HOSTILE}{number}": client.model(name),
        ):
            with pytest.raises(errors.PbserveError):
                call()
    with grpc.insecure_channel(server.address) as channel:
        for number in range(20):
            unknown: Any = channel.unary_unary(f"/{HOSTILE.splitlines()[0]}{number}/Call")
            with pytest.raises(grpc.RpcError):
                unknown(b"", timeout=30)
    found = scrape(url)
    assert "evil" not in found.text
    assert '"1000"' not in found.text
    # One line for what was not found; the calls of Predict and GetModel; their histogram.
    lost = found.samples("pbserve_requests_total", model="")
    assert len(lost) == 1
    assert sum(lost.values()) == 80
    assert len(found.text.splitlines()) < before + 60


def test_versions_that_are_gone_disappear(
    server: InferenceServer, client: InferenceClient, url: str
) -> None:
    server.publish(b"1")
    client.predict("m", pixels(1.0))
    server.publish(b"2")
    client.predict("m", pixels(1.0))
    found = scrape(url)
    versioned = {
        sample.labels["version"]
        for family in found.families.values()
        for sample in family.samples
        if sample.labels.get("version")
    }
    assert versioned == {"2"}
    assert found.value("pbserve_loads_total", model="m", result="OK") == 2


def test_counts_go_with_their_version_even_if_nobody_scrapes(
    server: InferenceServer, client: InferenceClient
) -> None:
    for content in (b"1", b"2", b"3"):
        server.publish(content)
        client.predict("m", pixels(1.0))
    assert server.metrics.requests._counts.keys() == {("m", 3)}


def test_times_and_batches_are_counted_once_each(
    server: InferenceServer, client: InferenceClient, url: str
) -> None:
    server.publish(cards=1)
    for _ in range(3):
        client.predict("m", pixels(1.0, 2.0))
    found = scrape(url)
    for name in ("request", "queue", "batch", "compute"):
        assert found.value(f"pbserve_{name}_seconds_count", model="m", version="1") == 3
        assert found.value(f"pbserve_{name}_seconds_bucket", model="m", le="+Inf") == 3
    whole, parts = (
        sum(found.value(f"pbserve_{name}_seconds_sum", model="m") for name in names)
        for names in (["request"], ["queue", "batch", "compute"])
    )
    assert whole >= parts > 0
    assert found.value("pbserve_batch_images_bucket", card="0", le="1") == 0
    assert found.value("pbserve_batch_images_bucket", card="0", le="2") == 3
    assert found.value("pbserve_batch_images_sum", card="0") == 6
    assert found.value("pbserve_card_busy_seconds_total", card="0") > 0


def test_what_waits_and_runs_is_seen_while_it_does(server: InferenceServer, url: str) -> None:
    server.publish(cards=1)
    engine = server.engines[-1]
    engine.gate.clear()

    async def ask() -> list[asyncio.Task[object]]:
        from inference_service.prediction.request import InferenceRequest

        answer = server.core.predictor.answer
        inference_requests = [
            InferenceRequest("m", {"input": pixels(1.0, 2.0, 3.0, 4.0)}) for _ in range(3)
        ]
        return [
            asyncio.create_task(answer(inference_request, None))
            for inference_request in inference_requests
        ]

    tasks = server.call(ask())
    assert engine.started.acquire(timeout=30)
    found = scrape(url)
    assert found.value("pbserve_queue_images", model="m") == 8
    assert found.value("pbserve_card_outstanding_images", model="m") == 12
    assert found.value("pbserve_card_outstanding_images_limit", model="m") == 100
    assert found.value("pbserve_version_leases", model="m") == 3
    engine.gate.set()

    async def all_of() -> None:
        await asyncio.gather(*tasks)

    server.call(all_of())
    assert scrape(url).value("pbserve_queue_images", model="m") == 0


def test_states_of_versions_and_failed_loads(server: InferenceServer, url: str) -> None:
    server.publish()
    server.publish(b"broken")
    found = scrape(url)
    states = found.samples("pbserve_version_state", model="m")
    assert {
        (dict(labels)["version"], dict(labels)["state"])
        for labels, value in states.items()
        if value
    } == {("1", "AVAILABLE"), ("2", "FAILED")}
    assert found.value("pbserve_loads_total", model="m", result="ENGINE_FAILED") >= 1
    assert found.value("pbserve_default_version", model="m") == 1
    assert found.value("pbserve_load_seconds_count", model="m") == 1
    assert found.value("pbserve_swap_seconds_count", model="m") == 1


def test_a_store_that_cannot_be_reached_is_counted(
    server: InferenceServer, url: str, tmp_path: Path
) -> None:
    server.publish()
    looks = scrape(url).value("pbserve_store_polls_total")
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    server.sync()
    found = scrape(url)
    assert found.value("pbserve_store_polls_total") == looks + 1
    assert found.value("pbserve_store_poll_errors_total") == 1
    assert found.value("pbserve_store_reachable") == 0
    (tmp_path / "elsewhere").rename(tmp_path / "models")
    server.sync()
    assert scrape(url).value("pbserve_store_reachable") == 1


def test_a_card_out_of_order_is_seen(
    server: InferenceServer, client: InferenceClient, url: str
) -> None:
    server.publish(cards=1)
    server.engines[-1].broken_cards.add(0)
    for _ in range(3):
        with pytest.raises(errors.PbserveError):
            client.predict("m", pixels(1.0))
    found = scrape(url)
    assert found.value("pbserve_card_healthy", model="m", card="0", device="cpu:0") == 0
    assert found.value("pbserve_card_unanswered_total", card="0", reason="failed") >= 1


def test_memory_of_the_process_is_there(server: InferenceServer, url: str) -> None:
    assert scrape(url).value("process_resident_memory_bytes") > 2**20
    assert scrape(url).value("pbserve_ready") == 1
