from __future__ import annotations

import tracemalloc
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2, types_pb2

from inference_service.protocols.tensorflow_serving import tensor_codec
from inference_service.protocols.tensorflow_serving.tensor_codec import (
    decode_strings,
    decode_tensor,
    encode_tensor,
)
from service_kit import errors

DTYPES = [
    *("float16", "float32", "float64", "bool", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
]
BFLOAT16 = tf.bfloat16.as_numpy_dtype
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def arrays(dtypes: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[npt.NDArray[Any]]:
    chosen = dtypes or st.sampled_from(DTYPES)
    return chosen.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))


def typed(array: npt.NDArray[Any]) -> tensor_pb2.TensorProto:
    """Returns the message with typed values, which TensorFlow itself makes of one value only."""
    message = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    for value in array.ravel():
        one = tf.make_tensor_proto(value, dtype=array.dtype)
        assert not one.tensor_content
        for field, values in one.ListFields():
            if field.name.endswith("_val"):
                getattr(message, field.name).extend(values)
    return message


def message(dtype: int, shape: list[int], **fields: Any) -> tensor_pb2.TensorProto:
    made = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


def same(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> bool:
    """Whether all bits are equal; in memory the order of bytes may differ."""
    native = left.astype(left.dtype.newbyteorder("="))
    return (native.dtype, native.shape, native.tobytes()) == (
        right.dtype,
        right.shape,
        right.tobytes(),
    )


def test_the_numbers_of_types_are_those_of_tensorflow() -> None:
    numbers = {*types_pb2.DataType.values()}
    for dtype in DTYPES:
        assert tensor_codec.data_type(dtype) == tf.as_dtype(dtype).as_datatype_enum
        assert tensor_codec.data_type(dtype) in numbers
    assert tensor_codec.DT_STRING == types_pb2.DT_STRING
    for number, kind in tensor_codec._KIND_OF.items():
        assert kind.name == types_pb2.DataType.Name(number)


@given(arrays())
def test_what_tensorflow_makes_of_an_array_is_read_as_that_array(array: npt.NDArray[Any]) -> None:
    assert same(decode_tensor("x", tf.make_tensor_proto(array)), array)


@given(arrays())
def test_typed_values_are_read_as_they_were_written(array: npt.NDArray[Any]) -> None:
    sent = typed(array)
    assert same(decode_tensor("x", sent), array)
    assert same(decode_tensor("x", sent), tf.make_ndarray(sent))


@given(arrays(), st.sampled_from(["<", ">"]))
def test_tensorflow_reads_what_is_written(
    array: npt.NDArray[Any], order: Literal["<", ">"]
) -> None:
    answer = tensor_pb2.TensorProto()
    encode_tensor(array.astype(array.dtype.newbyteorder(order)), answer)
    assert not answer.tensor_content
    # Clients of other languages see the message after a journey.
    received = tensor_pb2.TensorProto.FromString(answer.SerializeToString())
    assert same(tf.make_ndarray(received), array)
    assert same(decode_tensor("x", received), array)


@given(hnp.arrays("uint16", SHAPES))
def test_bfloat16_goes_both_ways_without_loss(bits: npt.NDArray[Any]) -> None:
    array = bits.view(BFLOAT16)
    wide = array.astype(np.float32)
    for sent in (tf.make_tensor_proto(array), typed(array)):
        found = decode_tensor("x", sent)
        assert found.dtype == np.float32
        assert np.array_equal(found, wide, equal_nan=True)
    answer = tensor_pb2.TensorProto()
    encode_tensor(array, answer)
    assert same(tf.make_ndarray(answer).view(np.uint16), bits)


@given(arrays(), st.integers(1, 30))
def test_the_last_value_is_repeated_to_fill_the_shape(array: npt.NDArray[Any], more: int) -> None:
    sent = typed(array.ravel())
    sent.tensor_shape.dim[0].size = array.size + more
    expected = tf.make_ndarray(sent)
    found = decode_tensor("x", sent)
    assert found.shape == (array.size + more,)
    assert np.array_equal(found, expected, equal_nan=array.dtype.kind in "fc")


def test_one_bfloat16_is_repeated_too() -> None:
    found = decode_tensor("x", message(types_pb2.DT_BFLOAT16, [2, 3], half_val=[0x3FC0]))
    assert found.tolist() == [[1.5] * 3] * 2
    assert found.dtype == np.float32


def test_many_whole_numbers_are_read_and_written_in_order() -> None:
    numbers = np.random.default_rng(0).integers(-(2**31), 2**31, 50_000, np.int32)
    answer = tensor_pb2.TensorProto()
    assert tensor_codec.is_slow_array(numbers)
    encode_tensor(numbers, answer)
    assert tensor_codec.is_slow(answer)
    assert same(decode_tensor("x", answer), numbers)


def test_floats_are_never_slow() -> None:
    assert not tensor_codec.is_slow_array(np.zeros(10**6, np.float32))
    assert not tensor_codec.is_slow(typed(np.zeros(1, np.float32)))
    assert not tensor_codec.is_slow(message(999, []))


def test_fields_of_other_types_and_unknown_ones_do_not_matter() -> None:
    sent = message(types_pb2.DT_FLOAT, [2], float_val=[1, 2], int_val=[7] * 9, string_val=[b"x"])
    unknown = tensor_pb2.TensorProto.FromString(sent.SerializeToString() + b"\xfa\x3f\x04abcd")
    assert decode_tensor("x", unknown).tolist() == [1, 2]


def test_content_wins_over_typed_values_as_in_tensorflow() -> None:
    content = np.array([3, 4], "<f4").tobytes()
    sent = message(types_pb2.DT_FLOAT, [2], float_val=[1, 2], tensor_content=content)
    assert decode_tensor("x", sent).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (message(types_pb2.DT_FLOAT, [2], float_val=[1] * 3), "has 3 values; DT_FLOAT of shape [2"),
        (message(types_pb2.DT_FLOAT, [2], tensor_content=b"1234567"), "has 7 bytes; float32 of"),
        (message(types_pb2.DT_FLOAT, [2], tensor_content=b"1" * 9), "has 9 bytes; float32 of shap"),
        (message(types_pb2.DT_BOOL, [1], tensor_content=b"\x02"), "byte that is not 0 or 1"),
        (message(types_pb2.DT_UINT8, [1], int_val=[256]), "int_val that is not within 0 and 255"),
        (message(types_pb2.DT_INT8, [1], int_val=[-129]), "not within -128 and 127"),
        (message(types_pb2.DT_HALF, [1], half_val=[-1]), "half_val that is not within 0 and 65535"),
        (message(types_pb2.DT_COMPLEX64, [1], scomplex_val=[1]), "an odd number of values"),
        (message(types_pb2.DT_FLOAT, [-1], float_val=[1]), "no size is below 0"),
        (message(types_pb2.DT_FLOAT, [1] * 33, float_val=[1]), "has 33 dimensions"),
        (message(types_pb2.DT_FLOAT, [0, 2**62, 2**62]), "has shape [0, "),
        (message(types_pb2.DT_QINT8, [1], int_val=[1]), "data type number 11; known are DT_FLOAT"),
        (message(types_pb2.DT_FLOAT_REF, [1], float_val=[1]), "data type number 101"),
        (message(0, [1]), "data type number 0"),
    ],
)
def test_what_cannot_be_is_refused(sent: tensor_pb2.TensorProto, words: str) -> None:
    with pytest.raises(errors.InvalidTensor) as caught:
        decode_tensor("x", sent)
    assert words in caught.value.message


def test_a_shape_with_a_million_sizes_is_refused_unread() -> None:
    sent = message(types_pb2.DT_FLOAT, [1] * 100_000, float_val=[1])
    with pytest.raises(errors.InvalidTensor, match="has 100000 dimensions"):
        decode_tensor("x", sent)


def test_too_many_values_are_refused_unread() -> None:
    sent = message(types_pb2.DT_UINT8, [1], int_val=[999] * 100_000)
    with pytest.raises(errors.InvalidTensor, match="has 100000 values"):
        decode_tensor("x", sent)


def test_narrow_numbers_take_no_more_memory_than_their_array() -> None:
    sent = message(types_pb2.DT_UINT8, [2**20], int_val=[7] * 2**20)
    tracemalloc.start()
    found = decode_tensor("x", sent)
    assert tracemalloc.get_traced_memory()[1] < 2**20 * 3
    tracemalloc.stop()
    assert found.nbytes == 2**20


def test_a_shape_of_unknown_rank_is_refused() -> None:
    sent = message(types_pb2.DT_FLOAT, [], float_val=[1])
    sent.tensor_shape.unknown_rank = True
    with pytest.raises(errors.InvalidTensor, match="unknown rank"):
        decode_tensor("x", sent)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
@pytest.mark.parametrize("shape", [[10**12], [2**62, 2**62], [10**7, 2, 2, 3]])
def test_a_huge_shape_with_little_content_takes_no_memory(
    shape: list[int], values: list[float]
) -> None:
    sent = message(types_pb2.DT_FLOAT, shape, float_val=values)
    tracemalloc.start()
    with pytest.raises(errors.InvalidTensor, match="repeating the last one: send all"):
        decode_tensor("x", sent)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_repeating_one_value_takes_no_memory() -> None:
    for dtype in (types_pb2.DT_FLOAT, types_pb2.DT_BFLOAT16):
        sent = message(dtype, [16 * 2**20], float_val=[1.0], half_val=[0x3F80])
        tracemalloc.start()
        found = decode_tensor("x", sent)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()
        assert found.shape == (16 * 2**20,)
        assert found[-1] == 1


def test_strings_are_read_from_either_field() -> None:
    images = [b"", b"\x89PNG", b"x" * 300]
    assert decode_strings("x", tf.make_tensor_proto(images)) == images
    # TensorFlow's own writer of this form is in C++; these are its bytes.
    content = b"\x00\x04\xac\x02" + b"\x89PNG" + b"x" * 300
    assert decode_strings("x", message(7, [3], tensor_content=content)) == images


def test_the_last_string_is_repeated() -> None:
    assert decode_strings("x", message(7, [3], string_val=[b"a", b"b"])) == [b"a", b"b", b"b"]
    assert decode_strings("x", message(7, [2])) == [b"", b""]
    assert decode_strings("x", tf.make_tensor_proto(b"one")) == [b"one"]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (message(7, [1, 1], string_val=[b"a"]), "encoded images have shape [images]"),
        (message(7, [1], string_val=[b"a", b"b"]), "has 2 values; DT_STRING of shape [1] takes 1"),
        (message(7, [-1], string_val=[b"a"]), "no size is below 0"),
        (message(7, [10**12], string_val=[b"a"]), "repeating the last one"),
        (message(7, [10**12]), "repeating the last one"),
        (message(7, [10**12], tensor_content=b"\x01a"), "2 bytes of tensor_content"),
    ],
)
def test_strings_that_do_not_fit_are_refused(sent: tensor_pb2.TensorProto, words: str) -> None:
    with pytest.raises(errors.InvalidTensor) as caught:
        decode_strings("x", sent)
    assert words in caught.value.message


def test_a_type_that_no_client_knows_cannot_be_sent() -> None:
    with pytest.raises(errors.InvalidTensor, match="datetime64"):
        encode_tensor(np.zeros(1, "M8[s]"), tensor_pb2.TensorProto())
