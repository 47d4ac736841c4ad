"""DT_STRING in `tensor_content`: all lengths as varints, then all strings. Values in, values out.

As `EncodeStringList` of TensorFlow's tsl/platform/tensor_coding writes it, which C++ clients call
by `Tensor::AsProtoTensorContent`.
"""

from __future__ import annotations

from service_kit import errors

# Of a 32 bit varint.
_LONGEST_VARINT = 5


def split_strings(name: str, content: bytes, count: int) -> list[bytes]:
    """Returns the elements; `name` is the input's, for errors.

    Raises:
        InvalidTensor: there are more or fewer elements, or one ends beyond the content.
    """
    # Each has a byte of length at least: what follows is bounded by the content.
    if not 0 <= count <= len(content):
        raise _unfit(name, content, count)
    position, lengths = 0, []
    for _ in range(count):
        length, position = _varint(name, content, position, count)
        lengths.append(length)
    if sum(lengths) != len(content) - position:
        raise _unfit(name, content, count)
    elements = []
    for length in lengths:
        elements.append(content[position : position + length])
        position += length
    return elements


def _varint(name: str, content: bytes, position: int, count: int) -> tuple[int, int]:
    found = 0
    for index, byte in enumerate(content[position : position + _LONGEST_VARINT]):
        found |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return found, position + index + 1
    raise _unfit(name, content, count)


def _unfit(name: str, content: bytes, count: int) -> errors.InvalidTensor:
    return errors.InvalidTensor(
        f"input {name!r} has {len(content)} bytes of tensor_content, which are not the lengths of "
        f"{count} strings and those strings"
    )
