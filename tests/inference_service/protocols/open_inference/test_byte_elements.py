from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from inference_service.protocols.open_inference.byte_elements import join_elements, split_elements
from service_kit import errors


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_elements_come_back_as_they_were(elements: list[bytes]) -> None:
    assert split_elements("x", join_elements(elements), len(elements)) == elements


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20))
def test_the_form_is_that_of_tritons_client(elements: list[bytes]) -> None:
    raw = serialize_byte_tensor(np.array(elements, np.object_)).item()
    assert join_elements(elements) == raw
    assert deserialize_bytes_tensor(join_elements(elements)).tolist() == elements


@given(st.binary(max_size=60), st.integers(0, 8))
def test_any_bytes_are_elements_or_an_error(data: bytes, count: int) -> None:
    try:
        elements = split_elements("x", data, count)
    except errors.InvalidTensor:
        return
    assert len(elements) == count
    assert join_elements(elements) == data


@pytest.mark.parametrize(
    ("data", "count", "words"),
    [
        (b"", 1, "0 bytes, too few for the lengths of its 1 elements"),
        (b"\x01\0\0", 1, "3 bytes, too few"),
        (b"\x05\0\0\0abc", 1, "element 0 of input 'x' has a length of 5 bytes, and 3 follow"),
        (b"\xff\xff\xff\xffabc", 1, "length of 4294967295 bytes, and 3 follow"),
        (b"\0\0\0\x01a", 1, "length of 16777216 bytes"),
        (struct.pack("<I", 4) + b"abcd", 2, "ends before its element 1 of 2"),
        (b"\x01\0\0\0ab", 1, "1 bytes more than its 1 elements"),
        (b"\x01\0\0\0a", 0, "5 bytes more than its 0 elements"),
        (b"ab", 2**62, "2 bytes, too few"),
    ],
)
def test_what_is_no_such_tensor_is_refused(data: bytes, count: int, words: str) -> None:
    with pytest.raises(errors.InvalidTensor, match=words):
        split_elements("x", data, count)
