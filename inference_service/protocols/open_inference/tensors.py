"""Tensors of requests and answers <-> arrays, elements and places in shared memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tritonclient.grpc import service_pb2 as pb

from inference_service.protocols.open_inference.byte_elements import split_elements
from inference_service.protocols.open_inference.datatypes import BYTES, dtype_of
from inference_service.protocols.open_inference.parameters import Parameters
from inference_service.protocols.open_inference.shared_memory import Place, SharedMemory
from inference_service.protocols.open_inference.typed_contents import typed_array, typed_elements
from inference_service.wire.raw_tensor import Array, element_count, raw_array
from service_kit import errors

_REGION, _SIZE, _OFFSET = "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"
_MAX_CLASSES = 2**31 - 1


class InputTensor(NamedTuple):
    """An input as it came, with its bytes; None: they are its typed contents."""

    message: pb.ModelInferRequest.InferInputTensor
    raw: bytes | Place | None


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that was asked for: whole (0) or so many best classes of it, and where it goes."""

    name: str
    classes: int = 0
    place: Place | None = None


def input_tensors(message: pb.ModelInferRequest, memory: SharedMemory | None) -> list[InputTensor]:
    """Returns a request's inputs, each with its bytes.

    The bytes are copied out of the message, which is the only copy of them that Python makes.

    Raises:
        InvalidRequest: raw and typed contents are mixed, there are more or fewer raw contents than
            inputs that need them, or shared memory is not what it has to be.
        RegionNotFound: there is no such shared memory region.
    """
    inputs = list(message.inputs)
    places = [
        _place(one.parameters, f"input {one.name!r}", memory) if one.parameters else None
        for one in inputs
    ]
    typed = []
    for one, place in zip(inputs, places, strict=True):
        if not one.HasField("contents"):
            continue
        if place:
            raise errors.InvalidRequest(f"input {one.name!r} has contents and is in shared memory")
        typed.append(one.name)
    count = len(message.raw_input_contents)
    if count and typed:
        raise errors.InvalidRequest(
            f"there are raw_input_contents, and input {typed[0]!r} has contents: send all inputs "
            "one way"
        )
    if not typed and count != places.count(None):
        raise errors.InvalidRequest(
            f"there are {count} raw_input_contents for {places.count(None)} inputs that are not in "
            "shared memory"
        )
    raw = iter(message.raw_input_contents)
    return [
        InputTensor(one, place or (None if typed else next(raw)))
        for one, place in zip(inputs, places, strict=True)
    ]


def decode_tensor(tensor: InputTensor) -> Array | list[bytes]:
    """Returns an input's array, or the elements of one of BYTES. Reads shared memory, which blocks.

    Raises:
        InvalidTensor: an unknown type, an impossible shape, or contents that do not fit them.
        InvalidRequest: its shared memory has become smaller.
    """
    message = tensor.message
    name, datatype, shape = message.name, message.datatype, message.shape
    raw = tensor.raw.read() if isinstance(tensor.raw, Place) else tensor.raw
    if datatype == BYTES:
        count = element_count(name, shape)
        _check_bytes_shape(name, shape)
        if raw is None:
            _check_typed(message)
            return typed_elements(name, message)
        return split_elements(name, raw, count)
    dtype = dtype_of(name, datatype)
    if raw is None:
        _check_typed(message)
        return typed_array(name, datatype, dtype, message)
    return raw_array(name, dtype, shape, raw)


def requested_outputs(
    message: pb.ModelInferRequest, memory: SharedMemory | None
) -> list[RequestedOutput]:
    """Returns the outputs that a request asks for, in its order; none: all.

    Raises:
        InvalidRequest: a parameter is wrong, or classes are to go into shared memory.
        RegionNotFound: there is no such shared memory region.
    """
    if not message.outputs:
        return []
    found: dict[str, RequestedOutput] = {}
    for output in message.outputs:
        where = f"output {output.name!r}"
        parameters = Parameters(output.parameters, where)
        classes = parameters.integer("classification", maximum=_MAX_CLASSES) or 0
        place = _place(output.parameters, where, memory)
        if classes and place:
            raise errors.InvalidRequest(
                f"{where}: classes cannot go into shared memory: ask for one of the two"
            )
        found.setdefault(output.name, RequestedOutput(output.name, classes, place))
    return list(found.values())


def mark_place(place: Place, size: int, output: pb.ModelInferResponse.InferOutputTensor) -> None:
    """Says in an answer's output where its bytes are."""
    output.parameters[_REGION].string_param = place.region.name
    output.parameters[_SIZE].int64_param = size
    if place.offset:
        output.parameters[_OFFSET].int64_param = place.offset


def _place(values: pb.InferParameter, where: str, memory: SharedMemory | None) -> Place | None:
    parameters = Parameters(values, where)
    present = [key for key in (_REGION, _SIZE) if key in parameters]
    if not present and _OFFSET not in parameters:
        return None
    if len(present) == 1 or not present:
        raise errors.InvalidRequest(
            f"{where} has {', '.join(present) or _OFFSET}: shared memory takes {_REGION} and "
            f"{_SIZE}"
        )
    if memory is None:
        raise shared_memory_is_off()
    size = parameters.integer(_SIZE) or 0
    return memory.place(parameters.text(_REGION), parameters.integer(_OFFSET) or 0, size)


def shared_memory_is_off() -> errors.Unsupported:
    """Returns the error of who wants shared memory where it is not offered."""
    return errors.Unsupported(
        "shared memory is not offered by this server, which listens beyond its own machine: send "
        "tensors in messages"
    )


def _check_bytes_shape(name: str, shape: Sequence[int]) -> None:
    # [images, 1] is how clients of Triton send one string for each image.
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        raise errors.InvalidTensor(
            f"input {name!r} has shape {list(shape)}; encoded images have shape [images] or "
            "[images, 1]"
        )


def _check_typed(message: pb.ModelInferRequest.InferInputTensor) -> None:
    if not message.HasField("contents"):
        raise errors.InvalidTensor(
            f"input {message.name!r} has no contents, and other inputs have: send all inputs "
            "one way"
        )
