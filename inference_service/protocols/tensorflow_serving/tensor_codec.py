"""TensorProto <-> NumPy arrays, by TensorFlow's rules (`Tensor::FromProto` in its sources)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from inference_service.protocols.tensorflow_serving import packed_values
from inference_service.protocols.tensorflow_serving.string_content import split_strings
from inference_service.wire.raw_tensor import Array, element_count, raw_array, raw_bytes, shaped
from service_kit import errors

# As many as NumPy has had before release 2.
MAX_DIMENSIONS = 32
# Of a tensor whose content is made by repeating its last value: what a message may have.
_MAX_REPEATED_BYTES = 64 * 2**20


class _Kind(NamedTuple):
    """How a data type is stored: its name, elements in `tensor_content`, and its typed field."""

    name: str
    stored: np.dtype[Any]
    field: str


# Numbers of tensorflow/core/framework/types.proto, fields of tensor.proto. The types that a model
# can have, and those that TensorFlow's clients can make.
_KIND_OF: Mapping[int, _Kind] = {
    1: _Kind("DT_FLOAT", np.dtype(np.float32), "float_val"),
    2: _Kind("DT_DOUBLE", np.dtype(np.float64), "double_val"),
    3: _Kind("DT_INT32", np.dtype(np.int32), "int_val"),
    4: _Kind("DT_UINT8", np.dtype(np.uint8), "int_val"),
    5: _Kind("DT_INT16", np.dtype(np.int16), "int_val"),
    6: _Kind("DT_INT8", np.dtype(np.int8), "int_val"),
    8: _Kind("DT_COMPLEX64", np.dtype(np.complex64), "scomplex_val"),
    9: _Kind("DT_INT64", np.dtype(np.int64), "int64_val"),
    10: _Kind("DT_BOOL", np.dtype(np.bool_), "bool_val"),
    17: _Kind("DT_UINT16", np.dtype(np.uint16), "int_val"),
    18: _Kind("DT_COMPLEX128", np.dtype(np.complex128), "dcomplex_val"),
    19: _Kind("DT_HALF", np.dtype(np.float16), "half_val"),
    22: _Kind("DT_UINT32", np.dtype(np.uint32), "uint32_val"),
    23: _Kind("DT_UINT64", np.dtype(np.uint64), "uint64_val"),
}
DT_STRING = 7
_DT_BFLOAT16 = 14
_BFLOAT16 = _Kind("DT_BFLOAT16", np.dtype(np.uint16), "half_val")
_NUMBER_OF = {kind.stored.name: number for number, kind in _KIND_OF.items()}
# What the stubs say of the bits of half precision, and what those are.
_BITS = np.dtype(np.uint16)


def data_type(dtype: str) -> int:
    """Returns TensorFlow's number of a NumPy dtype by its name."""
    return _NUMBER_OF[dtype]


def is_slow(message: Any) -> bool:
    """Whether `decode_tensor` takes too long for an event loop."""
    kind = _kind(message)
    return kind is not None and packed_values.is_slow(kind.field, len(getattr(message, kind.field)))


def is_slow_array(array: Array) -> bool:
    """Whether `encode_tensor` takes too long for an event loop."""
    kind = _KIND_OF.get(_NUMBER_OF.get(array.dtype.name, 0), _BFLOAT16)
    return packed_values.is_slow(kind.field, array.size)


def decode_tensor(name: str, message: Any) -> Array:
    """Returns a tensor's elements, an array that may be read-only; `name` is for errors.

    Without `tensor_content` the typed field counts; its last value is repeated as often as the
    shape asks for, and no value is 0. Repeating one value takes no memory. DT_BFLOAT16 comes as
    float32, which has every value of it.

    Raises:
        InvalidTensor: another data type, an impossible shape, or content that does not fit.
    """
    kind = _kind(message)
    if kind is None:
        known = ", ".join(one.name for one in (*_KIND_OF.values(), _BFLOAT16))
        raise errors.InvalidTensor(
            f"input {name!r} has data type number {message.dtype}; known are {known}, and "
            "DT_STRING for encoded images"
        )
    shape = _shape(name, message)
    if message.tensor_content:
        array = raw_array(name, kind.stored, shape, message.tensor_content)
    else:
        array = _typed(name, kind, shape, message)
    return _widen(array) if message.dtype == _DT_BFLOAT16 else array


def decode_strings(name: str, message: Any) -> list[bytes]:
    """Returns the elements of a tensor of DT_STRING; `name` is for errors.

    Raises:
        InvalidTensor: its shape is neither [images] nor that of one image, [], or its content does
            not fit.
    """
    shape = _shape(name, message)
    if len(shape) > 1:
        raise errors.InvalidTensor(
            f"input {name!r} is DT_STRING and has shape {shape}; encoded images have shape [images]"
        )
    count = element_count(name, shape)
    if message.tensor_content:
        return split_strings(name, message.tensor_content, count)
    values = list(message.string_val)
    last = values[-1] if values else b""
    _check_values(name, "DT_STRING", shape, len(values), count, size=max(len(last), 8))
    return values + [last] * (count - len(values))


def encode_tensor(array: Array, message: Any) -> None:
    """Writes an array into a TensorProto, its elements in the typed field.

    That is what TensorFlow Serving answers with by default, and what clients read who do not go
    through `tf.make_ndarray`.

    Raises:
        InvalidTensor: TensorFlow's clients have no such dtype.
    """
    is_bfloat16 = array.dtype.name == "bfloat16"
    number = _DT_BFLOAT16 if is_bfloat16 else _NUMBER_OF.get(array.dtype.name)
    if number is None:
        raise errors.InvalidTensor(f"dtype {array.dtype} cannot be sent: cast it to a numeric one")
    kind = _BFLOAT16 if is_bfloat16 else _KIND_OF[number]
    message.dtype = number
    for size in array.shape:
        message.tensor_shape.dim.add().size = size
    little = np.frombuffer(raw_bytes(array), kind.stored.newbyteorder("<"))
    packed_values.write(message, kind.field, little.view(_parts(kind)))


def _kind(message: Any) -> _Kind | None:
    return _BFLOAT16 if message.dtype == _DT_BFLOAT16 else _KIND_OF.get(message.dtype)


def _parts(kind: _Kind) -> np.dtype[Any]:
    """Returns the little-endian dtype of what the typed field has of an element."""
    parts: np.dtype[Any] = kind.stored
    if kind.field == "half_val":
        parts = _BITS
    elif kind.stored.kind == "c":
        parts = np.dtype(f"f{kind.stored.itemsize // 2}")
    little: np.dtype[Any] = parts.newbyteorder("<")
    return little


def _shape(name: str, message: Any) -> list[int]:
    if message.tensor_shape.unknown_rank:
        raise errors.InvalidTensor(f"input {name!r} has a shape of unknown rank: send its sizes")
    if len(message.tensor_shape.dim) > MAX_DIMENSIONS:
        raise errors.InvalidTensor(
            f"input {name!r} has {len(message.tensor_shape.dim)} dimensions in its shape; "
            f"{MAX_DIMENSIONS} are possible"
        )
    return [dimension.size for dimension in message.tensor_shape.dim]


def _typed(name: str, kind: _Kind, shape: Sequence[int], message: Any) -> Array:
    count, parts = element_count(name, shape), _parts(kind)
    given, half = divmod(len(getattr(message, kind.field)), kind.stored.itemsize // parts.itemsize)
    if half:
        raise errors.InvalidTensor(
            f"input {name!r} is {kind.name} and has an odd number of values, which are no pairs"
        )
    # Before any of them is read.
    _check_values(name, kind.name, shape, given, count, size=kind.stored.itemsize)
    try:
        values = packed_values.read(message, kind.field, parts)
    except OverflowError as error:
        raise errors.InvalidTensor(
            f"input {name!r} is {kind.name} and has a value in {kind.field} that is {error}"
        ) from None
    values = values.view(kind.stored.newbyteorder("<"))
    if given == count:
        return shaped(name, values, shape)
    if given > 1:
        return shaped(name, np.pad(values, (0, count - given), mode="edge"), shape)
    only = values[0] if given else kind.stored.type(0)
    return np.broadcast_to(np.asarray(only, kind.stored), shape)


def _check_values(
    name: str, type_name: str, shape: Sequence[int], given: int, wanted: int, *, size: int
) -> None:
    """Refuses more values than there are elements, and elements that would be made of nothing."""
    if given > wanted:
        raise errors.InvalidTensor(
            f"input {name!r} has {given} values; {type_name} of shape {list(shape)} takes {wanted}"
        )
    if given < wanted and wanted * size > _MAX_REPEATED_BYTES:
        raise errors.InvalidTensor(
            f"input {name!r} has {given} values; {type_name} of shape {list(shape)} takes "
            f"{wanted}, and no more than {_MAX_REPEATED_BYTES} bytes are made by repeating the "
            "last one: send all"
        )


def _widen(bits: Array) -> Array:
    """Returns bfloat16 as float32, of which it is the upper half."""
    if bits.size and not any(bits.strides):
        # One value, repeated.
        return np.broadcast_to(_widen(bits.reshape(-1)[:1].copy())[0], bits.shape)
    wide: Array = bits.astype(np.uint32) << np.uint32(16)
    return wide.view(np.float32)
