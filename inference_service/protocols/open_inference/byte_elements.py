"""Tensors of BYTES in raw form: each element behind its length. Values in, values out."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from service_kit import errors

_LENGTH = struct.Struct("<I")


def split_elements(name: str, data: bytes, count: int) -> list[bytes]:
    """Returns the elements of a raw tensor; `name` is the input's, for errors.

    Args:
        name: of the input.
        data: for each element four bytes with its length, little-endian, and its own bytes.
        count: of the elements, as the shape says.

    Raises:
        InvalidTensor: there are more or fewer elements, or one ends beyond the data.
    """
    if count * _LENGTH.size > len(data):
        raise errors.InvalidTensor(
            f"input {name!r} has {len(data)} bytes, too few for the lengths of its {count} elements"
        )
    elements: list[bytes] = []
    position = 0
    for index in range(count):
        begin = position + _LENGTH.size
        if begin > len(data):
            raise errors.InvalidTensor(f"input {name!r} ends before its element {index} of {count}")
        (length,) = _LENGTH.unpack_from(data, position)
        position = begin + length
        if position > len(data):
            raise errors.InvalidTensor(
                f"element {index} of input {name!r} has a length of {length} bytes, and "
                f"{len(data) - begin} follow"
            )
        elements.append(data[begin:position])
    if position != len(data):
        raise errors.InvalidTensor(
            f"input {name!r} has {len(data) - position} bytes more than its {count} elements"
        )
    return elements


def join_elements(elements: Iterable[bytes]) -> bytes:
    """Returns elements in raw form."""
    return b"".join(part for one in elements for part in (_LENGTH.pack(len(one)), one))
