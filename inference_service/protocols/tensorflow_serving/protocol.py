"""Registers the protocol's two services, and what is said of methods that are not answered."""

from __future__ import annotations

from typing import Any

import grpc

from inference_service.protocols.shared.core import Core
from inference_service.protocols.tensorflow_serving.servicer import (
    REQUESTS,
    TensorFlowServingServicer,
)
from service_kit import errors

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
_ANSWERED = (
    f"/{PREDICTION}/Predict",
    f"/{PREDICTION}/GetModelMetadata",
    f"/{MODEL}/GetModelStatus",
    f"/{MODEL}/HandleReloadConfigRequest",
)
_EXAMPLES = (
    "takes tf.Example protos, which none of this server's models does: call Predict with the "
    "images as a tensor"
)
# What is said instead of "method not found".
_REFUSED = {
    f"/{PREDICTION}/Classify": f"Classify {_EXAMPLES}, and look for the highest probability",
    f"/{PREDICTION}/Regress": f"Regress {_EXAMPLES}",
    f"/{PREDICTION}/MultiInference": f"MultiInference {_EXAMPLES}, once for each signature",
    f"/{PREDICTION}/PredictStreamed": (
        "PredictStreamed is for models that answer in pieces, and this server's do not: call "
        "Predict for each image, or StreamPredict of pbserve.inference.v1.InferenceService"
    ),
}
_STREAMED = f"/{PREDICTION}/PredictStreamed"


class TensorFlowServing(grpc.GenericRpcHandler):
    """The protocol's methods over a core."""

    def __init__(self, core: Core) -> None:
        """Answers from `core`."""
        servicer = TensorFlowServingServicer(core)
        self._methods = {
            **{method: _answer(method, servicer) for method in _ANSWERED},
            **{method: _refuse(method, words) for method, words in _REFUSED.items()},
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Returns what answers a method; None for those of others."""
        return self._methods.get(str(handler_call_details.method))


def _answer(method: str, servicer: TensorFlowServingServicer) -> Any:
    name = method.rpartition("/")[2]
    return grpc.unary_unary_rpc_method_handler(
        getattr(servicer, name),
        request_deserializer=REQUESTS[name].FromString,
        response_serializer=_bytes_of,
    )


def _bytes_of(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _refuse(method: str, words: str) -> Any:
    if method == _STREAMED:

        async def refuse_stream(_messages: Any, _context: Any) -> Any:
            raise errors.Unsupported(words)
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse_stream)

    async def refuse(_message: bytes, _context: Any) -> bytes:
        raise errors.Unsupported(words)

    return grpc.unary_unary_rpc_method_handler(refuse)


def add_to_server(server: Any, core: Core) -> list[str]:
    """Adds both services to a `grpc.aio` server; returns their full names."""
    server.add_generic_rpc_handlers([TensorFlowServing(core)])
    return [PREDICTION, MODEL]
