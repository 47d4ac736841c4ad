"""The golden digits through every protocol of one real process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
import tritonclient.grpc as triton
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from inference_service.client import InferenceClient
from service_kit.store.artifact_store import ArtifactStore
from tests.conftest import Converted
from tests.support.digits import PARITY, expected
from tests.support.services import Service, running

Array = npt.NDArray[Any]
# Pixels, uint8 [images, 32, 32, 3], and a card -> probabilities, float32 [images, 10].
Ask = Callable[[Array, int], Array]
MODEL = "agreeing"
ONE_BY_ONE = 40


@pytest.fixture(scope="module")
def service(
    converted_ema: Converted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("protocols")
    store = ArtifactStore(str(folder / "models"))
    store.create()
    store.publish(MODEL, converted_ema.conversion, converted_ema.path)
    with running(
        "inference_service", "--store", str(folder / "models"), log=folder / "log"
    ) as started:
        with InferenceClient(started.address) as client:
            client.wait_until_ready(MODEL)
        yield started


def pbserve(address: str) -> Iterator[Ask]:
    with InferenceClient(address) as client:
        yield lambda images, card: client.predict(MODEL, images, card=card).outputs["probs"]


def open_inference(address: str) -> Iterator[Ask]:
    with triton.InferenceServerClient(address) as client:

        def ask(images: Array, card: int) -> Array:
            tensor = triton.InferInput("input", list(images.shape), "UINT8")
            tensor.set_data_from_numpy(images)
            result = client.infer(MODEL, [tensor], parameters={"card": card})
            found: Array = result.as_numpy("probs")
            return found

        yield ask


def tensorflow_serving(address: str) -> Iterator[Ask]:
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask(images: Array, card: int) -> Array:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = MODEL
            request.model_spec.signature_name = f"card_{card}"
            request.inputs["input"].CopyFrom(tf.make_tensor_proto(images))
            found: Array = tf.make_ndarray(stub.Predict(request, timeout=60).outputs["probs"])
            return found

        yield ask


PROTOCOLS = [pbserve, open_inference, tensorflow_serving]


def answers(service: Service, protocol: Any, images: Array, card: int, *, each: bool) -> Array:
    """Returns the probabilities of all images, asked for one by one or together."""
    for ask in protocol(service.address):
        if each:
            return np.concatenate([ask(images[i : i + 1], card) for i in range(len(images))])
        together: Array = ask(images, card)
        return together
    raise AssertionError(protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_answers_as_tensorflow_1_15_did(service: Service, protocol: Any) -> None:
    for card in (0, 1):
        found = answers(service, protocol, expected()["images"], card, each=False)
        assert found.dtype == np.float32
        assert np.abs(found - expected()["probs_ema"]).max() < PARITY


@pytest.mark.parametrize("card", [0, 1])
def test_the_same_image_gets_the_same_bits_through_every_protocol(
    service: Service, card: int
) -> None:
    images = expected()["images"][:ONE_BY_ONE]
    found = {
        protocol.__name__: answers(service, protocol, images, card, each=True).tobytes()
        for protocol in PROTOCOLS
    }
    assert len({*found.values()}) == 1, {name: hash(bits) for name, bits in found.items()}


def test_typed_values_and_whole_tensors_get_the_same_bits(service: Service) -> None:
    images = expected()["images"][:1].astype(np.float32)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.model_spec.signature_name = "card_0"
    request.inputs["input"].CopyFrom(tf.make_tensor_proto(images))
    typed = predict_pb2.PredictRequest()
    typed.CopyFrom(request)
    typed.inputs["input"].tensor_content = b""
    typed.inputs["input"].float_val.extend(images.ravel().tolist())
    with grpc.insecure_channel(service.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        whole, single = (stub.Predict(one, timeout=60).outputs["probs"] for one in (request, typed))
        assert list(whole.float_val) == list(single.float_val)


def test_a_server_that_has_just_been_started_answers_while_tensorflow_is_imported(
    tmp_path: Path,
) -> None:
    """Its first call may be one that needs TensorFlow itself."""
    with running(
        "inference_service", "--store", str(tmp_path), log=tmp_path / "log"
    ) as started, grpc.insecure_channel(started.address) as channel:  # fmt: skip
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = "x"
        with pytest.raises(grpc.RpcError, match="Could not find any versions of model x"):
            stub.GetModelStatus(asked, timeout=60)
    assert "Traceback" not in started.log.read_text()
