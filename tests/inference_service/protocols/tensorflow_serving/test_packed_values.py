from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2

from inference_service.protocols.tensorflow_serving.packed_values import (
    is_slow,
    read,
    varint,
    write,
)


@given(st.integers(0, 2**64 - 1))
def test_varints_are_those_of_the_wire(number: int) -> None:
    message = wrappers_pb2.UInt64Value.FromString(b"\x08" + varint(number))
    assert message.value == number


@given(st.lists(st.floats(width=32), max_size=20), st.lists(st.floats(width=32), max_size=20))
def test_numbers_are_appended_to_what_is_there(first: list[float], second: list[float]) -> None:
    message = tensor_pb2.TensorProto(int_val=[1], version_number=3)
    for values in (first, second):
        write(message, "float_val", np.array(values, "<f4"))
    expected = np.array([*first, *second], "<f4")
    assert read(message, "float_val", np.dtype("<f4")).tobytes() == expected.tobytes()
    # And nothing of the message was changed by reading it.
    assert (list(message.int_val), message.version_number) == ([1], 3)


@pytest.mark.parametrize(
    ("field", "number", "dtype"),
    [
        ("int_val", -1, "u1"),
        ("int_val", 256, "u1"),
        ("int_val", 2**15, "i2"),
        ("half_val", 2**16, "u2"),
        ("int64_val", 2**31, "i4"),
    ],
)
def test_a_number_out_of_range_is_refused_wherever_it_is(
    field: str, number: int, dtype: str
) -> None:
    numbers = [0] * 40_000
    for place in (0, 20_000, 39_999):
        message = tensor_pb2.TensorProto()
        getattr(message, field).extend([*numbers[:place], number, *numbers[place:]])
        with pytest.raises(OverflowError, match="not within"):
            read(message, field, np.dtype(dtype))


def test_whole_numbers_keep_their_extremes() -> None:
    message = tensor_pb2.TensorProto(
        uint64_val=[2**64 - 1, 0], int64_val=[-(2**63), 2**63 - 1], uint32_val=[2**32 - 1]
    )
    for field, dtype in (("uint64_val", "<u8"), ("int64_val", "<i8"), ("uint32_val", "<u4")):
        found = read(message, field, np.dtype(dtype))
        assert found.tolist() == list(getattr(message, field))


def test_only_many_whole_numbers_are_slow() -> None:
    assert is_slow("int_val", 100_000)
    assert not is_slow("int_val", 1000)
    assert not is_slow("float_val", 10**9)
