"""Synchronous client of the inference service. Imports no TensorFlow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference_service.results import Card, Model, Prediction, StreamAnswer, Version
from inference_service.tensor_codec import decode_tensor, encode_tensor
from pbserve.inference.v1 import inference_pb2 as pb
from pbserve.inference.v1 import inference_pb2_grpc
from service_kit import errors, manifest_codec, status
from service_kit.channel import Client, sendable, typed_errors

Array = npt.NDArray[Any]
Inputs = Array | Mapping[str, Array]
_INPUT = "input"


class InferenceClient(Client):
    """Calls one inference service.

    Every method raises the `PbserveError` that the service raised, or `ServerStopping` when
    the service cannot be reached.
    """

    def __init__(self, address: str) -> None:
        """Prepares a connection to `host:port`; it is made by the first call."""
        super().__init__(address)
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    def predict(
        self,
        model: str,
        images: Inputs,
        *,
        card: int | None = None,
        version: int = 0,
        timeout: float | None = None,
    ) -> Prediction:
        """Returns the prediction for one group of images.

        Args:
            model: name of the model.
            images: [images, height, width, channels], or several arrays by semantic name.
            card: card to run on; None: the least busy one.
            version: version to ask; 0: the newest.
            timeout: seconds, also honoured in the server's queue; None: no limit.
        """
        request = _request(model, images, card, version, "")
        with typed_errors():
            return _prediction(self._stub.Predict(request, timeout=timeout))

    def stream(
        self,
        model: str,
        groups: Iterable[Inputs],
        *,
        card: int | None = None,
        version: int = 0,
        window: int = 64,
        in_request_order: bool = False,
        timeout: float | None = None,
    ) -> Iterator[StreamAnswer]:
        """Yields one answer a group of images, as they are ready.

        Args:
            model: name of the model.
            groups: each as `images` of `predict`; read in another thread, as places get free.
            card: card to run on; None: the least busy one, for each group anew.
            version: version to ask; 0: the newest at the time of each group.
            window: groups in flight.
            in_request_order: answers come in the order of the groups.
            timeout: seconds for the whole stream; None: no limit.

        Raises whatever `groups` raises.
        """
        places = threading.Semaphore(window)
        ended = threading.Event()
        failure: list[BaseException] = []

        def requests() -> Iterator[pb.StreamPredictRequest]:
            try:
                for index, images in enumerate(groups):
                    places.acquire()
                    if ended.is_set():
                        return
                    request = _request(model, images, card, version, str(index))
                    yield pb.StreamPredictRequest(
                        request=request, in_request_order=in_request_order
                    )
            except Exception as error:
                # grpc would only log it and cancel the call.
                failure.append(error)

        call = self._stub.StreamPredict(requests(), timeout=timeout)
        try:
            with typed_errors():
                for response in call:
                    places.release()
                    yield _stream_answer(response)
            if failure:
                raise failure[0]
        finally:
            ended.set()
            places.release()
            call.cancel()

    def models(self) -> list[Model]:
        """Returns every model with the state of its versions."""
        with typed_errors():
            response = self._stub.ListModels(pb.ListModelsRequest())
        return [_model(message) for message in response.models]

    def model(self, name: str) -> Model:
        """Returns one model with the state of its versions."""
        with sendable():
            request = pb.GetModelRequest(model=name)
        with typed_errors():
            return _model(self._stub.GetModel(request).model)

    def wait_until_ready(self, model: str = "", *, timeout: float = 60.0) -> None:
        """Returns when the model (empty: the server) answers requests.

        Raises:
            DeadlineExpired: it did not within `timeout` seconds.
        """
        ends = time.monotonic() + timeout
        health: Any = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service=model)
        while (left := ends - time.monotonic()) > 0:
            try:
                watch = health.Watch(request, timeout=left, wait_for_ready=True)
                for response in watch:
                    if response.status == health_pb2.HealthCheckResponse.SERVING:
                        watch.cancel()
                        return
            except grpc.RpcError:
                # Gone while it starts; the deadline of the loop ends this.
                time.sleep(min(0.05, max(left, 0)))
        what = f"model {model}" if model else "the server"
        raise errors.DeadlineExpired(f"{what} was not ready within {timeout:g} s")


def _request(
    model: str, images: Inputs, card: int | None, version: int, request_id: str
) -> pb.PredictRequest:
    inputs = images if isinstance(images, Mapping) else {_INPUT: images}
    tensors = {name: encode_tensor(np.asarray(array)) for name, array in inputs.items()}
    with sendable():
        return pb.PredictRequest(
            model=model, version=version, card=card, inputs=tensors, request_id=request_id
        )


def _prediction(message: pb.PredictResponse) -> Prediction:
    return Prediction(
        outputs={name: decode_tensor(name, tensor) for name, tensor in message.outputs.items()},
        model=message.model,
        version=message.version,
        card=message.card,
        batch_size=message.batch_size,
        queue_seconds=message.queue_time.ToNanoseconds() / 1e9,
        compute_seconds=message.compute_time.ToNanoseconds() / 1e9,
    )


def _stream_answer(message: pb.StreamPredictResponse) -> StreamAnswer:
    index = int(message.request_id)
    if message.HasField("error"):
        return StreamAnswer(index, None, status.from_proto(message.error))
    return StreamAnswer(index, _prediction(message.response), None)


def _model(message: pb.ModelStatus) -> Model:
    return Model(
        name=message.name,
        default_version=message.default_version,
        versions=tuple(_version(version) for version in message.versions),
    )


def _version(message: pb.VersionStatus) -> Version:
    state = pb.VersionStatus.State.Name(message.state)
    return Version(
        version=message.version,
        state=state.removeprefix("STATE_"),
        reason=message.reason,
        graph_sha256=message.graph_sha256,
        cards=tuple(
            Card(
                index=card.index,
                device=card.device,
                inputs=tuple(map(manifest_codec.tensor_spec_from_proto, card.inputs)),
                outputs=tuple(map(manifest_codec.tensor_spec_from_proto, card.outputs)),
                outstanding_images=card.outstanding_images,
                answered_images=card.answered_images,
                max_batch_size=card.max_batch_size,
            )
            for card in message.cards
        ),
    )
