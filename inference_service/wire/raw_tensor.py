"""Little-endian, row-major bytes <-> NumPy arrays, for every protocol. Values in, values out."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service_kit import errors

Array = npt.NDArray[Any]
# As many as NumPy has had before release 2.
_MAX_DIMENSIONS = 32


def element_count(name: str, shape: Sequence[int]) -> int:
    """Returns how many elements a shape has; `name` is the input's, for errors.

    Raises:
        InvalidTensor: a size is negative, or there are too many.
    """
    if len(shape) > _MAX_DIMENSIONS:
        # Also bounds the size of the product below, which the event loop has to compute.
        raise errors.InvalidTensor(
            f"input {name!r} has {len(shape)} dimensions in its shape; {_MAX_DIMENSIONS} "
            "are possible"
        )
    if shape and min(shape) < 0:
        raise errors.InvalidTensor(f"input {name!r} has shape {list(shape)}: no size is below 0")
    return math.prod(shape)


def shaped(name: str, array: Array, shape: Sequence[int]) -> Array:
    """Returns a view of as many elements as `shape` has, in that shape.

    Raises:
        InvalidTensor: NumPy has no such shape: more dimensions, or larger empty ones.
    """
    try:
        return array.reshape(tuple(shape))
    except ValueError as error:
        raise errors.InvalidTensor(f"input {name!r} has shape {list(shape)}: {error}") from None


def raw_array(name: str, dtype: np.dtype[Any], shape: Sequence[int], data: bytes) -> Array:
    """Returns a read-only array over the bytes; `name` is the input's, for errors.

    Raises:
        InvalidTensor: impossible shape, a byte count that does not fit, or bytes that are no bool.
    """
    expected = element_count(name, shape) * dtype.itemsize
    if len(data) != expected:
        raise errors.InvalidTensor(
            f"input {name!r} has {len(data)} bytes; {dtype.name} of shape {list(shape)} takes "
            f"{expected}"
        )
    if dtype.kind == "b" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise errors.InvalidTensor(f"input {name!r} is bool and has a byte that is not 0 or 1")
    return shaped(name, np.frombuffer(data, _little_endian(dtype)), shape)


def raw_bytes(array: Array) -> bytes:
    """Returns an array's bytes, little-endian and row-major."""
    return array.astype(_little_endian(array.dtype), copy=False).tobytes()


@functools.cache
def _little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    # There are as many as arrays of the protocols have.
    little: np.dtype[Any] = dtype.newbyteorder("<")
    return little
