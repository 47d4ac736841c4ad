"""Client of the inference service for threads. Imports no TensorFlow."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable

from typing_extensions import Unpack

from inference_service.client import calls, codec
from inference_service.client.codec import Inputs, RequestOptions
from inference_service.client.in_flight import InFlightRequests
from inference_service.client.results import Model, Prediction, StreamAnswer, Version
from inference_service.client.stream_call import StreamCall
from pbserve.inference.v1 import inference_pb2, inference_pb2_grpc
from service_kit.client.client import Client
from service_kit.client.client_span import client_span
from service_kit.client.connection import ConnectionOptions


class InferenceClient(Client):
    """Calls one inference service, or several that serve the same. Threads may share it.

    Every method raises the `PbserveError` that the service raised, or `ServerStopping` when
    the service cannot be reached. What passes (UNAVAILABLE, and RESOURCE_EXHAUSTED with a time to
    wait) is tried again before that, within `timeout`: see `RetryPolicy`.
    """

    _service = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name

    def __init__(self, address: str, **options: Unpack[ConnectionOptions]) -> None:
        """Prepares a connection; it is made by the first call.

        Args:
            address: `host:port`, where all addresses of the host are used in turn; or a target
                of gRPC, as `dns:///name:port` or `ipv4:127.0.0.1:8500,127.0.0.1:8501`.
            options: see `ConnectionOptions`.

        Raises:
            InvalidRequest: the address or an option cannot be what is meant.
        """
        super().__init__(address, inference_pb2_grpc.InferenceServiceStub, **options)

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
            images: [images, height, width, channels]; or one image or a list of them: paths of
                JPEG or PNG files, their contents, or Pillow images; or several of these by
                semantic name. See `tensor_or_files`.
            timeout: seconds, also honoured in the server's queue; None: the client's.
            options: see `RequestOptions`.
        """
        return self._run(calls.predict(model, images, **options), timeout)

    def stream(
        self,
        model: str,
        groups: Iterable[Inputs],
        *,
        window: int = 64,
        in_request_order: bool = False,
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> Generator[StreamAnswer, None, None]:
        """Yields one answer a group of images, as they are ready.

        Every group is answered exactly once. What a server refuses for the moment is sent again
        when it asks for it. When the stream ends because the server goes away, another is opened
        and what has no answer is sent again, so that a server may be restarted meanwhile. A group
        that cannot be read has the error as its answer. Closing the iterator ends everything.

        Args:
            model: name of the model.
            groups: each as `images` of `predict`; read in another thread, as places get free.
            window: groups in flight, which are kept until they are answered.
            in_request_order: answers come in the order of the groups.
            timeout: seconds for the whole stream; None: the client's.
            options: see `RequestOptions`; a version that they leave open, and a card, are chosen
                for each group anew.

        Raises whatever `groups` raises, after the answers to what it gave.
        """
        common = codec.request_without_images(model, **options)
        attempts = self._attempts(timeout, repeatable=True)
        retry = self._connection.retry
        stream = StreamCall(
            lambda requests, span: self._call("StreamPredict", requests, attempts, span),
            common,
            InFlightRequests(
                retry, window=window, in_order=in_request_order, uniform=random.random
            ),
            attempts,
            lambda: client_span(self._service, "StreamPredict"),
        )
        return stream.answers(groups)

    def models(self, *, timeout: float | None = None) -> list[Model]:
        """Returns every model with the state of its versions."""
        return self._run(calls.models(), timeout)

    def model(self, name: str, *, timeout: float | None = None) -> Model:
        """Returns one model with the state of its versions."""
        return self._run(calls.model(name), timeout)

    def load(self, model: str, version: int = 0, *, timeout: float | None = None) -> Version:
        """Has the server look at its store for a model, and returns the version once it is served.

        Args:
            model: name of the model.
            version: to serve besides what the version policy chooses; 0: what that chooses.
            timeout: seconds; None: the client's. The load goes on when they are over.
        """
        return self._run(calls.load(model, version), timeout)

    def unload(self, model: str, version: int = 0, *, timeout: float | None = None) -> None:
        """Has the server stop serving a version, 0: all; returns when its memory is free."""
        self._run(calls.unload(model, version), timeout)

    def set_label(
        self, model: str, label: str, version: int, *, timeout: float | None = None
    ) -> None:
        """Points a label at a version that is served; 0 removes the label."""
        self._run(calls.set_label(model, label, version), timeout)

    def problems(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Returns what keeps the server from being up to date: its models file, or its store."""
        return self._run(calls.problems(), timeout)

    def wait_until_ready(self, model: str = "", *, timeout: float = 60.0) -> None:
        """Returns when the model (empty: the server) answers requests.

        Of several servers behind one address, when one of them does.

        Raises:
            DeadlineExpired: it did not within `timeout` seconds.
        """
        self._wait_until_serving(model, timeout)
