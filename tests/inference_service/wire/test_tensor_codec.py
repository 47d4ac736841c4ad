from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from inference_service.wire.tensor_codec import decode_tensor, encode_tensor
from pbserve.inference.v1 import inference_pb2 as pb
from service_kit import errors

DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
]


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0, max_dims=5))
    )
)
def test_every_dtype_comes_back(array: np.ndarray[Any, Any]) -> None:
    back = decode_tensor("x", encode_tensor(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_bytes_are_little_endian_and_row_major_whatever_the_array_is() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    message = encode_tensor(array)
    assert message.data == array.astype("<i4").tobytes(order="C")
    assert list(message.shape) == [3, 2]


def test_decoding_copies_nothing() -> None:
    message = encode_tensor(np.zeros((100, 100), np.float32))
    before = sys.getsizeof(message.data)
    array = decode_tensor("x", message)
    assert not array.flags.owndata
    assert not array.flags.writeable
    assert before > array.nbytes


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (pb.Tensor(shape=[1], data=b"1234"), "dtype number 0; known are bool, float16"),
        (pb.Tensor(dtype=99, shape=[1], data=b"1234"), "dtype number 99"),  # type: ignore[arg-type]
        (pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=[2], data=b"1234"), "4 bytes; .* takes 8"),
        (pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=[1], data=b"12345"), "5 bytes; .* takes 4"),
        (pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=[-1], data=b""), "no size is below 0"),
        (pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=[2**62, 2**62], data=b""), "0 bytes"),
        (pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=[0, 2**62, 2**62], data=b""), "shape"),
        (pb.Tensor(dtype=pb.DATA_TYPE_UINT8, shape=[1] * 200, data=b"1"), "shape"),
        # Multiplying these sizes out would hold up the event loop for a minute.
        (
            pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=[2**62] * 400_000, data=b""),
            "400000 dimensions in its shape; 32 are possible",
        ),
        (pb.Tensor(dtype=pb.DATA_TYPE_BOOL, shape=[2], data=b"\x01\x02"), "not 0 or 1"),
    ],
)
def test_what_does_not_fit_is_named(message: pb.Tensor, words: str) -> None:
    with pytest.raises(errors.InvalidTensor, match=words) as caught:
        decode_tensor("input", message)
    assert "input 'input'" in str(caught.value)


def test_text_cannot_be_sent_as_numbers() -> None:
    with pytest.raises(errors.InvalidTensor, match="cannot be sent"):
        encode_tensor(np.array(["a"]))
