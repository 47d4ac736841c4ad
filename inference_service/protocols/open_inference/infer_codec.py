"""`ModelInferRequest` -> inference request, result -> `ModelInferResponse`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tritonclient.grpc import service_pb2 as pb

from inference_service.prediction.request import InferenceRequest, InferenceResult
from inference_service.protocols.open_inference.byte_elements import join_elements
from inference_service.protocols.open_inference.classification import class_texts
from inference_service.protocols.open_inference.datatypes import BYTES, datatype_of
from inference_service.protocols.open_inference.model_version import version_or_label
from inference_service.protocols.open_inference.parameters import (
    RequestParameters,
    request_parameters,
)
from inference_service.protocols.open_inference.shared_memory import Place, SharedMemory
from inference_service.protocols.open_inference.tensors import (
    InputTensor,
    RequestedOutput,
    decode_tensor,
    input_tensors,
    mark_place,
    requested_outputs,
)
from inference_service.protocols.open_inference.typed_contents import typed_size
from inference_service.wire.raw_tensor import Array, raw_bytes
from service_kit import errors

# What takes longer than this is decoded or written beside the event loop: about a millisecond.
_QUICK_ELEMENTS = 10_000
_QUICK_BYTES = 4 * 2**20
# Inputs, outputs and parameters of one request: a message of 64 MB has room for 30 million empty
# ones, which would hold up the event loop for a minute.
_MAX_PARTS = 1000
# Of one image; what a model has more of takes its time anyway.
_MAX_RANKED = 1000


class Inference(NamedTuple):
    """A request: what it asks, and how it is to be answered; its tensors are not decoded yet.

    `is_quick`: whether decoding and encoding take the event loop no noticeable time.
    """

    message: pb.ModelInferRequest
    parameters: RequestParameters
    inputs: Sequence[InputTensor]
    outputs: Sequence[RequestedOutput]
    is_quick: bool


def inference(message: pb.ModelInferRequest, memory: SharedMemory | None) -> Inference:
    """Returns what a request is about. Belongs to the event loop.

    Raises:
        InvalidRequest: a field or a parameter is out of range, or contents are mixed.
        RegionNotFound: there is no such shared memory region.
        Unsupported: shared memory is not offered.
    """
    for what in ("inputs", "outputs", "parameters"):
        parts = len(getattr(message, what))
        if parts > _MAX_PARTS:
            raise errors.InvalidRequest(
                f"there are {parts} {what}; {_MAX_PARTS} are possible in a request"
            )
    inputs, outputs = input_tensors(message, memory), requested_outputs(message, memory)
    return Inference(
        message, request_parameters(message.parameters), inputs, outputs, _is_quick(inputs, outputs)
    )


def _is_quick(inputs: Sequence[InputTensor], outputs: Sequence[RequestedOutput]) -> bool:
    shared = elements = images = 0
    # Of one image.
    slow = sum([min(output.classes, _MAX_RANKED) for output in outputs])
    for one in inputs:
        if isinstance(one.raw, Place):
            shared += one.raw.byte_size
        elif one.raw is None:
            elements += typed_size(one.message.contents)
        if one.message.datatype == BYTES:
            slow += 1
        if one.message.shape:
            images = max(images, one.message.shape[0])
    shared += sum([output.place.byte_size for output in outputs if output.place])
    return shared <= _QUICK_BYTES and images * slow + elements <= _QUICK_ELEMENTS


def inference_request(request: Inference) -> InferenceRequest:
    """Returns the inference request in a message. May block; see `Inference.is_quick`.

    Raises:
        InvalidRequest: the version is none, or an input comes twice.
        InvalidTensor: a tensor's contents do not fit its type and shape.
    """
    message, parameters = request.message, request.parameters
    version, label = version_or_label(message.model_version)
    arrays: dict[str, Array] = {}
    encoded: dict[str, list[bytes]] = {}
    for tensor in request.inputs:
        name = tensor.message.name
        if name in arrays or name in encoded:
            raise errors.InvalidRequest(f"input {name!r} comes twice")
        value = decode_tensor(tensor)
        if isinstance(value, list):
            encoded[name] = value
        else:
            arrays[name] = value
    if label and parameters.label:
        raise errors.InvalidRequest(
            f"the model_version is label {label}, and parameter label is {parameters.label}: give "
            "one"
        )
    return InferenceRequest(
        model=message.model_name,
        version=version,
        label=label or parameters.label,
        card=parameters.card,
        inputs=arrays,
        encoded=encoded,
        fit=parameters.fit,
        output_names=[output.name for output in request.outputs],
        priority=parameters.priority,
        request_id=message.id,
    )


def encode_answer(
    request: Inference, answer: InferenceResult, response: pb.ModelInferResponse
) -> None:
    """Fills a response, raw outputs always; writes shared memory. May block, as decoding may.

    Raises:
        Unsupported: the protocol has no type for an output.
        InvalidRequest: an output does not fit into its shared memory.
    """
    response.model_name = answer.model
    response.model_version = str(answer.version)
    response.id = answer.request_id
    asked = request.outputs or [RequestedOutput(name) for name in answer.outputs]
    for output in asked:
        _encode_output(output, answer, response)
    parameters = response.parameters
    parameters["card"].int64_param = answer.cards[0]
    if len(answer.cards) > 1:
        parameters["cards"].string_param = ",".join(map(str, answer.cards))
    parameters["batch_size"].int64_param = answer.batch_size
    parameters["graph_sha256"].string_param = answer.graph_sha256
    parameters["queue_us"].int64_param = round(answer.queue_seconds * 1e6)
    parameters["compute_us"].int64_param = round(answer.compute_seconds * 1e6)


def _encode_output(
    wanted: RequestedOutput, answer: InferenceResult, response: pb.ModelInferResponse
) -> None:
    array = answer.outputs[wanted.name]
    output = response.outputs.add(name=wanted.name, datatype=datatype_of(array.dtype))
    if wanted.classes:
        rows = class_texts(array, wanted.classes, answer.class_labels.get(wanted.name, ()))
        output.datatype = BYTES
        output.shape.extend([len(rows), len(rows[0]) if rows else 0])
        response.raw_output_contents.append(join_elements(text for row in rows for text in row))
        return
    if not output.datatype:
        raise errors.Unsupported(
            f"output {wanted.name!r} is {array.dtype.name}, which the Open Inference Protocol has "
            "no type for"
        )
    output.shape.extend(array.shape)
    content = raw_bytes(array)
    if wanted.place:
        wanted.place.write(content)
        mark_place(wanted.place, len(content), output)
        content = b""
    # One for each output, also for those that are elsewhere: clients count them.
    response.raw_output_contents.append(content)
