from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference_service.protocols.open_inference.datatypes import DTYPES
from inference_service.wire.raw_tensor import raw_array, raw_bytes
from service_kit import errors

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(st.sampled_from(sorted(DTYPES)), SHAPES, st.data())
def test_every_dtype_comes_back_bit_for_bit(
    datatype: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    dtype = DTYPES[datatype]
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    content = data.draw(st.binary(min_size=size, max_size=size))
    if dtype == np.bool_:
        content = bytes(byte & 1 for byte in content)
    array = raw_array("x", dtype, shape, content)
    assert array.shape == shape
    assert array.dtype == dtype
    assert not array.flags.writeable
    assert raw_bytes(array) == content


@given(st.sampled_from(sorted(set(DTYPES) - {"BF16", "BOOL", "INT8", "UINT8"})), st.integers(0, 99))
def test_big_endian_never_leaks(datatype: str, value: int) -> None:
    big = np.array([value, 1], DTYPES[datatype].newbyteorder(">"))
    assert raw_bytes(big) == np.array([value, 1], DTYPES[datatype].newbyteorder("<")).tobytes()


def test_bf16_is_the_upper_half_of_float32_in_little_endian() -> None:
    values = np.array([1.0, -2.5, 3.140625], np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    array = raw_array("x", np.dtype(ml_dtypes.bfloat16), (3,), upper)
    np.testing.assert_array_equal(array.astype(np.float32), values)
    assert raw_bytes(array) == upper


def test_a_transposed_array_is_sent_row_by_row() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert raw_bytes(array) == np.array([[0, 3], [1, 4], [2, 5]], "<i4").tobytes()


def test_the_bytes_are_viewed_and_not_copied() -> None:
    content = bytes(1000)
    array = raw_array("x", np.dtype(np.uint8), (10, 100), content)
    assert np.shares_memory(array, np.frombuffer(content, np.uint8))


@pytest.mark.parametrize(
    ("dtype", "shape", "size", "words"),
    [
        ("float32", (2,), 7, "has 7 bytes; float32 of shape \\[2\\] takes 8"),
        ("float32", (), 0, "has 0 bytes; float32 of shape \\[\\] takes 4"),
        ("float32", (0, 5), 4, "has 4 bytes; float32 of shape \\[0, 5\\] takes 0"),
        ("float32", (-1, 2), 8, "no size is below 0"),
        ("float32", (-1, -2), 8, "no size is below 0"),
        ("uint8", (2**40, 2**40), 8, "takes 12089"),
        ("uint8", (1,) * 33, 1, "33 dimensions"),
        ("uint8", (0, 2**62, 2**62), 0, "shape"),
    ],
)
def test_what_does_not_fit_is_refused(
    dtype: str, shape: tuple[int, ...], size: int, words: str
) -> None:
    with pytest.raises(errors.InvalidTensor, match=words):
        raw_array("x", np.dtype(dtype), shape, bytes(size))


def test_a_bool_is_0_or_1() -> None:
    with pytest.raises(errors.InvalidTensor, match="not 0 or 1"):
        raw_array("x", np.dtype(np.bool_), (2,), b"\x01\x02")
