"""One stream of requests: answers in their order, an error for the request that it belongs to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from inference_service.protocols.shared.core import Core
from inference_service.protocols.shared.streaming import answer_all
from service_kit.server.incidents import describe_error

# Metadata by which a caller asks for gRPC statuses, and for the end of the stream with the first.
_WANTS_STATUS = "triton_grpc_error"

# Fills the response of a request.
Answerer = Callable[[pb.ModelInferRequest, pb.ModelInferResponse, Any], Awaitable[bool]]


async def answer_stream(
    core: Core,
    requests: AsyncIterator[pb.ModelInferRequest],
    answer: Answerer,
    context: Any,
    method: str,
) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
    """Yields a response for each request, in the order of the requests, as Triton does.

    Args:
        core: bounds what is in flight, and ends the stream when the server stops.
        requests: read as far as the core's window allows.
        answer: fills a response, and returns whether it is to be marked as its request's last.
        context: of the call.
        method: full name of the rpc, for the log.
    """
    end = core.streams.add(context)
    metadata = context.invocation_metadata() or ()
    wants_status = any(key == _WANTS_STATUS and value == "true" for key, value in metadata)

    async def answer_one(message: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        response = pb.ModelStreamInferResponse()
        try:
            if await answer(message, response.infer_response, context):
                response.infer_response.parameters["triton_final_response"].bool_param = True
        except Exception as error:
            if wants_status:
                raise
            failed = describe_error(error, method)
            return pb.ModelStreamInferResponse(
                error_message=failed.message or failed.reason,
                infer_response=pb.ModelInferResponse(id=message.id),
            )
        return response

    answers = answer_all(
        requests,
        answer_one,
        window=core.stream_window,
        keeps_order=lambda _: True,
        end=end,
    )
    try:
        async for response in answers:
            yield response
    finally:
        await answers.aclose()
