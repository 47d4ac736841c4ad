"""Synchronous client of the inference service. Imports no TensorFlow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typing_extensions import Unpack

from inference_service import client_codec as codec
from inference_service.client_codec import Inputs, RequestOptions
from inference_service.results import Model, Prediction, StreamAnswer, Version
from pbserve.inference.v1 import inference_pb2 as pb
from pbserve.inference.v1 import inference_pb2_grpc
from service_kit import errors
from service_kit.channel import Client, sendable, typed_errors


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
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> Prediction:
        """Returns the prediction for one group of images.

        Args:
            model: name of the model.
            images: [images, height, width, channels], a list of encoded images (JPEG or PNG), or
                several of these by semantic name.
            timeout: seconds, also honoured in the server's queue; None: no limit.
            options: see `RequestOptions`.
        """
        request = codec.request_message(model, images, "", **options)
        with typed_errors():
            return codec.prediction(self._stub.Predict(request, timeout=timeout))

    def stream(
        self,
        model: str,
        groups: Iterable[Inputs],
        *,
        window: int = 64,
        in_request_order: bool = False,
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> Iterator[StreamAnswer]:
        """Yields one answer a group of images, as they are ready.

        Args:
            model: name of the model.
            groups: each as `images` of `predict`; read in another thread, as places get free.
            window: groups in flight.
            in_request_order: answers come in the order of the groups.
            timeout: seconds for the whole stream; None: no limit.
            options: see `RequestOptions`; a version that they leave open, and a card, are chosen
                for each group anew.

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
                    yield pb.StreamPredictRequest(
                        request=codec.request_message(model, images, str(index), **options),
                        in_request_order=in_request_order,
                    )
            except Exception as error:
                # grpc would only log it and cancel the call.
                failure.append(error)

        call = self._stub.StreamPredict(requests(), timeout=timeout)
        try:
            with typed_errors():
                for response in call:
                    places.release()
                    yield codec.stream_answer(response)
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
        return [codec.model(message) for message in response.models]

    def model(self, name: str) -> Model:
        """Returns one model with the state of its versions."""
        with sendable():
            request = pb.GetModelRequest(model=name)
        with typed_errors():
            return codec.model(self._stub.GetModel(request).model)

    def load(self, model: str, version: int = 0, *, timeout: float | None = None) -> Version:
        """Has the server look at its store for a model, and returns the version once it is served.

        Args:
            model: name of the model.
            version: to serve besides what the version policy chooses; 0: what that chooses.
            timeout: seconds; None: no limit. The load goes on when they are over.
        """
        with sendable():
            request = pb.LoadModelRequest(model=model, version=version)
        with typed_errors():
            return codec.version(self._stub.LoadModel(request, timeout=timeout).version)

    def unload(self, model: str, version: int = 0, *, timeout: float | None = None) -> None:
        """Has the server stop serving a version, 0: all; returns when its memory is free."""
        with sendable():
            request = pb.UnloadModelRequest(model=model, version=version)
        with typed_errors():
            self._stub.UnloadModel(request, timeout=timeout)

    def set_label(self, model: str, label: str, version: int) -> None:
        """Points a label at a version that is served; 0 removes the label."""
        with sendable():
            request = pb.SetLabelRequest(model=model, label=label, version=version)
        with typed_errors():
            self._stub.SetLabel(request)

    def problems(self) -> tuple[str, ...]:
        """Returns what keeps the server from being up to date: its models file, or its store."""
        with typed_errors():
            response = self._stub.ListModels(pb.ListModelsRequest())
        return tuple(filter(None, (response.models_file_problem, response.store_problem)))

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
