"""Tensors of the contract <-> NumPy arrays; raw bytes are viewed, not copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inference_service.wire.raw_tensor import Array, raw_array, raw_bytes
from pbserve.inference.v1 import inference_pb2 as pb
from service_kit import errors

_DTYPE_OF: Mapping[int, np.dtype[Any]] = {
    value: np.dtype(name.removeprefix("DATA_TYPE_").lower())
    for name, value in pb.DataType.items()
    if value not in (pb.DATA_TYPE_UNSPECIFIED, pb.DATA_TYPE_BYTES)
}
_VALUE_OF = {dtype: pb.DataType.ValueType(value) for value, dtype in _DTYPE_OF.items()}


def decode_tensor(name: str, message: pb.Tensor) -> Array:
    """Returns a read-only array over the message's bytes; `name` is for errors.

    Raises:
        InvalidTensor: unknown dtype, impossible shape, or a byte count that does not fit.
    """
    dtype = _DTYPE_OF.get(message.dtype)
    if dtype is None:
        known = ", ".join(sorted(dtype.name for dtype in _VALUE_OF))
        raise errors.InvalidTensor(
            f"input {name!r} has dtype number {message.dtype}; known are {known}"
        )
    if message.elements:
        raise errors.InvalidTensor(f"input {name!r} is {dtype.name}: its bytes go into `data`")
    return raw_array(name, dtype, message.shape, message.data)


def decode_elements(name: str, message: pb.Tensor) -> list[bytes]:
    """Returns the elements of a tensor of bytes; `name` is for errors.

    Raises:
        InvalidTensor: it is not of one dimension, or its elements are not as many as that says.
    """
    shape, elements = list(message.shape), list(message.elements)
    if message.data:
        raise errors.InvalidTensor(f"input {name!r} is of bytes: they go into `elements`")
    if shape != [len(elements)]:
        raise errors.InvalidTensor(
            f"input {name!r} has {len(elements)} elements and shape {shape}; encoded images have "
            "shape [images]"
        )
    return elements


def encode_elements(elements: Sequence[bytes]) -> pb.Tensor:
    """Returns the message of a tensor of bytes of one dimension."""
    return pb.Tensor(dtype=pb.DATA_TYPE_BYTES, shape=[len(elements)], elements=elements)


def encode_tensor(array: Array) -> pb.Tensor:
    """Returns the message of an array, its bytes little-endian and row-major.

    Raises:
        InvalidTensor: the contract has no such dtype.
    """
    message = pb.Tensor()
    fill_tensor(message, array)
    return message


def fill_tensor(message: pb.Tensor, array: Array) -> None:
    """Makes an empty message that of an array; raises as `encode_tensor`."""
    value = _VALUE_OF.get(array.dtype)
    if value is None:
        value = _VALUE_OF.get(array.dtype.newbyteorder("="))
    if value is None:
        raise errors.InvalidTensor(f"dtype {array.dtype} cannot be sent: cast it to a numeric one")
    message.dtype = value
    message.shape.extend(array.shape)
    message.data = raw_bytes(array)
