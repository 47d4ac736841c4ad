"""Registers the protocol without its stubs, whose import is that of TensorFlow.

The port of a server opens at once; TensorFlow takes seconds, is imported by the first load, and by
a server that never loads anything not at all. So the methods are known by name here, take bytes,
and the first call imports the rest.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from inference_service.engine.tensorflow_import import import_tensorflow
from inference_service.protocols.shared.core import Core
from service_kit import errors

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
_SERVICER = "inference_service.protocols.tensorflow_serving.servicer"
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


class _SharedImport:
    """One import on a thread of its own, for all who need it, on any event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._module: Future[Any] | None = None

    async def module(self) -> Any:
        """Returns the servicer; a caller that goes away does not take the import with it."""
        return await asyncio.wrap_future(self._start())

    def _start(self) -> Future[Any]:
        with self._lock:
            if self._module is None:
                self._module = Future()
                # From now on nobody can cancel it.
                self._module.set_running_or_notify_cancel()
                threading.Thread(
                    target=self._import, args=(self._module,), name="import-tensorflow"
                ).start()
            return self._module

    def _import(self, module: Future[Any]) -> None:
        try:
            import_tensorflow()
            module.set_result(importlib.import_module(_SERVICER))
        except BaseException as error:
            with self._lock:
                # The next call tries again.
                self._module = None
            module.set_exception(error)


_servicer = _SharedImport()


class TensorFlowServing(grpc.GenericRpcHandler):
    """The protocol's methods over a core."""

    def __init__(self, core: Core) -> None:
        """Imports nothing yet."""
        self._methods = {
            **{method: self._answer(method, core) for method in _ANSWERED},
            **{method: _refuse(method, words) for method, words in _REFUSED.items()},
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Returns what answers a method; None for those of others."""
        return self._methods.get(str(handler_call_details.method))

    def _answer(self, method: str, core: Core) -> Any:
        name = method.rpartition("/")[2]

        async def answer(message: bytes, context: Any) -> bytes:
            module = await _servicer.module()
            request = _parse(module.REQUESTS[name].FromString, message)
            response = await getattr(module.TensorFlowServingServicer(core), name)(request, context)
            return bytes(response.SerializeToString())

        return grpc.unary_unary_rpc_method_handler(answer)


def _refuse(method: str, words: str) -> Any:
    if method == _STREAMED:

        async def refuse_stream(_messages: Any, _context: Any) -> Any:
            raise errors.Unsupported(words)
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse_stream)

    async def refuse(_message: bytes, _context: Any) -> bytes:
        raise errors.Unsupported(words)

    return grpc.unary_unary_rpc_method_handler(refuse)


def _parse(parse: Callable[[bytes], Any], message: bytes) -> Any:
    try:
        return parse(message)
    except DecodeError as error:
        raise errors.InvalidRequest(f"a message cannot be parsed: {error}") from error


def add_to_server(server: Any, core: Core) -> list[str]:
    """Adds both services to a `grpc.aio` server; returns their full names."""
    server.add_generic_rpc_handlers([TensorFlowServing(core)])
    return [PREDICTION, MODEL]


async def load_descriptors(symbol: str) -> None:
    """Puts the protocol's descriptors into the pool if reflection asks for one of them.

    Args:
        symbol: full name of a service or message, or the name of a file.
    """
    if symbol.startswith(("tensorflow.", "tensorflow/", "tensorflow_serving/")):
        await _servicer.module()
