"""Asyncio client of the inference service. Imports no TensorFlow."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterable, Iterable

from typing_extensions import Unpack

from inference_service.client import calls, codec
from inference_service.client.aio_groups import request_of
from inference_service.client.aio_stream_call import AsyncStreamCall
from inference_service.client.codec import Inputs, RequestOptions
from inference_service.client.in_flight import InFlightRequests
from inference_service.client.results import Model, Prediction, StreamAnswer, Version
from pbserve.inference.v1 import inference_pb2, inference_pb2_grpc
from service_kit.client.aio_client import AsyncClient
from service_kit.client.client_span import client_span
from service_kit.client.connection import ConnectionOptions


class AsyncInferenceClient(AsyncClient):
    """As `InferenceClient`, for asyncio: the same methods, awaited, with the same errors.

    Files and Pillow images are read in threads. Belongs to the event loop of its first call.
    """

    _service = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name

    def __init__(self, address: str, **options: Unpack[ConnectionOptions]) -> None:
        """Prepares a connection; it is made by the first call. See `InferenceClient`."""
        super().__init__(address, inference_pb2_grpc.InferenceServiceStub, **options)

    async def predict(
        self,
        model: str,
        images: Inputs,
        *,
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> Prediction:
        """Returns the prediction for one group of images. See `InferenceClient.predict`."""
        call = await request_of(images, lambda: calls.predict(model, images, **options))
        return await self._run(call, timeout)

    def stream(
        self,
        model: str,
        groups: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        window: int = 64,
        in_request_order: bool = False,
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> AsyncGenerator[StreamAnswer, None]:
        """Yields one answer a group of images, as they are ready. See `InferenceClient.stream`.

        `groups` may be asynchronous; of the others, what is no sequence is read in threads. Who
        leaves the iterator before its end closes it with `contextlib.aclosing`.
        """
        common = codec.request_without_images(model, **options)
        attempts = self._attempts(timeout, repeatable=True)
        retry = self._connection.retry
        stream = AsyncStreamCall(
            lambda requests, span: self._call("StreamPredict", requests, attempts, span),
            common,
            InFlightRequests(
                retry, window=window, in_order=in_request_order, uniform=random.random
            ),
            attempts,
            lambda: client_span(self._service, "StreamPredict"),
        )
        return stream.answers(groups)

    async def models(self, *, timeout: float | None = None) -> list[Model]:
        """Returns every model with the state of its versions."""
        return await self._run(calls.models(), timeout)

    async def model(self, name: str, *, timeout: float | None = None) -> Model:
        """Returns one model with the state of its versions."""
        return await self._run(calls.model(name), timeout)

    async def load(self, model: str, version: int = 0, *, timeout: float | None = None) -> Version:
        """Has the server load a model; returns the version. See `InferenceClient.load`."""
        return await self._run(calls.load(model, version), timeout)

    async def unload(self, model: str, version: int = 0, *, timeout: float | None = None) -> None:
        """Has the server stop serving a version, 0: all; returns when its memory is free."""
        await self._run(calls.unload(model, version), timeout)

    async def set_label(
        self, model: str, label: str, version: int, *, timeout: float | None = None
    ) -> None:
        """Points a label at a version that is served; 0 removes the label."""
        await self._run(calls.set_label(model, label, version), timeout)

    async def problems(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Returns what keeps the server from being up to date: its models file, or its store."""
        return await self._run(calls.problems(), timeout)

    async def wait_until_ready(self, model: str = "", *, timeout: float = 60.0) -> None:
        """Returns when the model (empty: the server) answers requests.

        Of several servers behind one address, when one of them does.

        Raises:
            DeadlineExpired: it did not within `timeout` seconds.
        """
        await self._wait_until_serving(model, timeout)
