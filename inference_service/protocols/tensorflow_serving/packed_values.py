"""Repeated numbers of a TensorProto <-> arrays.

A message's repeated field gives its numbers one by one, about 30 ns each, which for one photo of
256x256x3 is 6 ms. Fields of a fixed width are packed on the wire as the array would be in memory,
so those are taken from there, and put there: 0.1 ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Whose packed elements are as those of an array; others are varints.
_FIXED = frozenset(["float_val", "double_val", "scomplex_val", "dcomplex_val", "bool_val"])
_LENGTH_DELIMITED = 2
# Of varints, between which another thread may run: half a millisecond.
_CHUNK = 2**14


def is_slow(field: str, count: int) -> bool:
    """Whether so many numbers of a field take too long for an event loop."""
    return field not in _FIXED and count > _CHUNK


def read(message: Any, field: str, dtype: np.dtype[Any]) -> Array:
    """Returns the numbers of a repeated field as an array of one dimension.

    Args:
        message: a TensorProto.
        field: the name of the field.
        dtype: of the array: what numbers of a fixed width have on the wire, whole numbers may be
            narrower than their field.

    Raises:
        OverflowError: a whole number is out of the range of `dtype`.
    """
    values = getattr(message, field)
    if field not in _FIXED:
        return _read_varints(values, dtype)
    if not values:
        return np.zeros(0, dtype)
    # CopyFrom would copy one by one, too.
    alone = type(message).FromString(message.SerializeToString())
    alone.DiscardUnknownFields()
    for other, _ in alone.ListFields():
        if other.name != field:
            alone.ClearField(other.name)
    wire: bytes = alone.SerializeToString()
    # What is left is the field's tag, its length, and its elements.
    return np.frombuffer(wire, dtype, offset=len(wire) - len(values) * dtype.itemsize)


def _read_varints(values: Any, dtype: np.dtype[Any]) -> Array:
    """Returns whole numbers; of those that wait to be checked there is a chunk at a time."""
    found = np.empty(len(values), dtype)
    wide = "u8" if dtype.kind == "u" and dtype.itemsize == 8 else "i8"
    limits = np.iinfo(dtype)
    for start in range(0, len(found), _CHUNK):
        part = np.fromiter(values[start : start + _CHUNK], wide)
        if not limits.min <= part.min() <= part.max() <= limits.max:
            raise OverflowError(f"not within {limits.min} and {limits.max}")
        found[start : start + _CHUNK] = part
    return found


def write(message: Any, field: str, array: Array) -> None:
    """Appends the numbers of an array to a repeated field.

    Args:
        message: a TensorProto.
        field: the name of the field.
        array: of one dimension; little-endian, and of the field's width where that is fixed.
    """
    if field not in _FIXED:
        values = getattr(message, field)
        for start in range(0, len(array), _CHUNK):
            values.extend(array[start : start + _CHUNK].tolist())
    elif array.size:
        elements = array.tobytes()
        number = message.DESCRIPTOR.fields_by_name[field].number
        tag = varint(number << 3 | _LENGTH_DELIMITED)
        message.MergeFromString(tag + varint(len(elements)) + elements)


def varint(number: int) -> bytes:
    """Returns a number of at least 0 as on the wire: 7 bits a byte, the lowest first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
