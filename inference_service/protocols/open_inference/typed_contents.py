"""`InferTensorContents`: tensors as lists of numbers instead of raw bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from inference_service.protocols.open_inference.datatypes import BYTES
from inference_service.wire.raw_tensor import Array, element_count, shaped
from service_kit import errors

_FIELD_OF: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
# What the fields hold for types that are narrower than they.
_WIDE = {"int_contents": np.dtype(np.int32), "uint_contents": np.dtype(np.uint32)}


def typed_size(contents: pb.InferTensorContents) -> int:
    """Returns how many elements there are in all fields."""
    return sum(len(values) for _, values in contents.ListFields())


def typed_array(
    name: str, datatype: str, dtype: np.dtype[Any], message: pb.ModelInferRequest.InferInputTensor
) -> Array:
    """Returns a tensor's numbers; `name` is the input's, for errors.

    Raises:
        InvalidTensor: the wrong field is set, there are more or fewer numbers than the shape says,
            or one is out of the type's range; FP16 and BF16, which have no field.
    """
    values = _values(name, datatype, message)
    wide = _WIDE.get(_FIELD_OF[datatype], dtype)
    array = np.fromiter(values, wide, len(values))
    if wide != dtype:
        limits = np.iinfo(dtype)
        if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
            raise errors.InvalidTensor(
                f"input {name!r} is {datatype} and has a value that is not within {limits.min} and "
                f"{limits.max}"
            )
    return shaped(name, array.astype(dtype, copy=False), message.shape)


def typed_elements(name: str, message: pb.ModelInferRequest.InferInputTensor) -> list[bytes]:
    """Returns the elements of a tensor of BYTES; raises as `typed_array`."""
    return list(_values(name, BYTES, message))


def _values(name: str, datatype: str, message: pb.ModelInferRequest.InferInputTensor) -> Any:
    field = _FIELD_OF.get(datatype)
    if field is None:
        raise errors.InvalidTensor(
            f"input {name!r} is {datatype}, for which there are no typed contents: send it in "
            "raw_input_contents"
        )
    filled = [descriptor.name for descriptor, _ in message.contents.ListFields()]
    if filled not in ([], [field]):
        raise errors.InvalidTensor(
            f"input {name!r} is {datatype}: its values go into {field}, and {', '.join(filled)} "
            "came"
        )
    values = getattr(message.contents, field)
    expected = element_count(name, message.shape)
    if len(values) != expected:
        raise errors.InvalidTensor(
            f"input {name!r} has {len(values)} values; shape {list(message.shape)} takes {expected}"
        )
    return values
