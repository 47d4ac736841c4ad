"""gRPC edge of the inference service: decodes, calls, encodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import Message

from inference_service.protocols.native import codec
from inference_service.protocols.shared.core import Core
from inference_service.protocols.shared.streaming import answer_all
from pbserve.inference.v1 import inference_pb2 as pb
from pbserve.inference.v1 import inference_pb2_grpc
from service_kit import errors, status
from service_kit.server.incidents import describe_error

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["InferenceService"].full_name
_STREAM = f"/{SERVICE_NAME}/StreamPredict"
# Calls of an asyncio server have another context class than the stubs' union can name.
_Context = Any


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Answers `pbserve.inference.v1.InferenceService`; the contract says what each rpc does."""

    def __init__(self, core: Core) -> None:
        """Serves `core`."""
        self._core = core

    async def Predict(self, request: pb.PredictRequest, context: _Context) -> pb.PredictResponse:
        """Answers one request."""
        return await self._answer(request, pb.PredictResponse(), context)

    async def _answer(
        self, request: pb.PredictRequest, response: pb.PredictResponse, context: _Context
    ) -> pb.PredictResponse:
        """Fills a response and returns it."""
        answer = await self._core.predictor.answer(
            codec.inference_request(request), context.time_remaining()
        )
        if codec.is_slow_answer(answer):
            return await asyncio.to_thread(codec.answer_message, answer, response)
        return codec.answer_message(answer, response)

    async def StreamPredict(
        self, request_iterator: AsyncIterator[pb.StreamPredictRequest], context: _Context
    ) -> AsyncIterator[pb.StreamPredictResponse]:
        """Answers many requests; an error belongs to its request."""
        end = self._core.streams.add(context)

        async def answer(message: pb.StreamPredictRequest) -> pb.StreamPredictResponse:
            request = message.request
            response = pb.StreamPredictResponse(request_id=request.request_id)
            try:
                await self._answer(request, response.response, context)
                _check_size(response, self._core.max_message_bytes)
            except Exception as error:
                response.error.CopyFrom(status.to_proto(describe_error(error, _STREAM)))
            return response

        answers = answer_all(
            request_iterator,
            answer,
            window=self._core.stream_window,
            keeps_order=lambda first: first.in_request_order,
            end=end,
        )
        try:
            async for response in answers:
                yield response
        finally:
            await answers.aclose()

    async def ListModels(
        self, request: pb.ListModelsRequest, context: _Context
    ) -> pb.ListModelsResponse:
        """Lists models."""
        models = [codec.model_message(status_) for status_ in self._core.registry.statuses()]
        problems = self._core.problems()
        return pb.ListModelsResponse(
            models=models,
            models_file_problem=problems.models_file,
            store_problem=problems.store,
        )

    async def GetModel(self, request: pb.GetModelRequest, context: _Context) -> pb.GetModelResponse:
        """Describes one model."""
        return pb.GetModelResponse(
            model=codec.model_message(self._core.registry.status(request.model))
        )

    async def LoadModel(
        self, request: pb.LoadModelRequest, context: _Context
    ) -> pb.LoadModelResponse:
        """Loads from the store, now."""
        version = await self._core.operations.load(*codec.model_and_version(request))
        return pb.LoadModelResponse(version=codec.version_message(version))

    async def UnloadModel(
        self, request: pb.UnloadModelRequest, context: _Context
    ) -> pb.UnloadModelResponse:
        """Stops serving a version or a model."""
        await self._core.operations.unload(*codec.model_and_version(request))
        return pb.UnloadModelResponse()

    async def SetLabel(self, request: pb.SetLabelRequest, context: _Context) -> pb.SetLabelResponse:
        """Moves or removes a label."""
        model, version = codec.model_and_version(request)
        await self._core.operations.set_label(model, request.label, version)
        return pb.SetLabelResponse()


def _check_size(message: Message, max_bytes: int) -> None:
    """Checks one answer of a stream; gRPC would end the stream for it, and with it all others.

    Raises:
        AnswerTooLarge: it has more than `max_bytes` bytes.
    """
    size = message.ByteSize()
    if size > max_bytes:
        raise errors.AnswerTooLarge(
            f"the answer has {size} bytes, and a message at most {max_bytes}: ask for fewer "
            "images or outputs at a time, or have the operator raise --max-message-mb"
        )
