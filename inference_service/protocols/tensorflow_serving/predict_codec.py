"""PredictRequest -> inference request, result -> PredictResponse."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from inference_service.prediction.request import InferenceRequest, InferenceResult
from inference_service.protocols.tensorflow_serving import messages, tensor_codec
from inference_service.protocols.tensorflow_serving.model_spec import Asked
from inference_service.protocols.tensorflow_serving.signatures import Signature
from inference_service.wire.raw_tensor import Array
from service_kit import errors

# A caller may have sent a million, which takes a second to sort.
_MAX_NAMES = 100


def check_names(request: Any, signature: Signature) -> None:
    """Checks the names of inputs and outputs, in TensorFlow Serving's order and words.

    Raises:
        InvalidRequest: an input is missing or unknown, an output is unknown or there twice.
    """
    known = {*signature.inputs}
    sent = {*islice(request.inputs, len(known) + _MAX_NAMES)}
    if len(request.inputs) != len(known):
        missing = {name for name in known if name not in request.inputs}
        raise errors.InvalidRequest(
            f"input size does not match signature: {len(request.inputs)}!={len(known)} "
            f"len({_set(sent)}) != len({_set(known)}). Sent extra: {_set(sent - known)}. Missing "
            f"but required: {_set(missing)}."
        )
    for name in sorted(sent - known):
        raise errors.InvalidRequest(
            f"input tensor alias not found in signature: {name}. Inputs expected to be in the set "
            f"{_set(known)}."
        )
    _check_outputs(request.output_filter, signature.outputs.keys())


def _check_outputs(wanted: Sequence[str], known: Collection[str]) -> None:
    seen = set()
    for name in wanted:
        if name not in known:
            raise errors.InvalidRequest(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the "
                f"set {_set(known)}."
            )
        if name in seen:
            raise errors.InvalidRequest(f"duplicate output tensor alias: {name}")
        seen.add(name)


def _set(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def is_slow(request: Any) -> bool:
    """Whether `inference_request` takes too long for an event loop."""
    return any(tensor_codec.is_slow(tensor) for tensor in request.inputs.values())


def is_slow_answer(answer: InferenceResult) -> bool:
    """Whether `response` takes too long for an event loop."""
    return any(tensor_codec.is_slow_array(array) for array in answer.outputs.values())


def inference_request(request: Any, target: Asked, signature: Signature) -> InferenceRequest:
    """Returns the inference request in a message whose names are checked.

    Raises:
        InvalidTensor: a tensor cannot be parsed.
    """
    inputs: dict[str, Array] = {}
    encoded: dict[str, list[bytes]] = {}
    for name, tensor in request.inputs.items():
        try:
            if tensor.dtype == tensor_codec.DT_STRING:
                encoded[name] = tensor_codec.decode_strings(name, tensor)
            else:
                inputs[name] = tensor_codec.decode_tensor(name, tensor)
        except errors.InvalidTensor as error:
            raise errors.InvalidTensor(f"tensor parsing error: {name}. {error.message}") from error
    return InferenceRequest(
        model=target.model,
        version=target.version,
        label=target.label,
        card=signature.card,
        inputs=inputs,
        encoded=encoded,
        output_names=list(request.output_filter),
    )


def response(answer: InferenceResult, signature: str) -> Any:
    """Returns the response for an answer; `signature` is the name that was resolved."""
    message = messages.PredictResponse()
    message.model_spec.name = answer.model
    message.model_spec.version.value = answer.version
    message.model_spec.signature_name = signature
    _encode(answer.outputs, message)
    return message


def _encode(outputs: Mapping[str, Array], message: Any) -> None:
    for name, array in outputs.items():
        tensor_codec.encode_tensor(array, message.outputs[name])
