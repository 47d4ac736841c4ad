from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.protocols.tensorflow_serving.packed_values import varint
from inference_service.protocols.tensorflow_serving.string_content import split_strings
from service_kit import errors


def joined(strings: list[bytes]) -> bytes:
    return b"".join([varint(len(one)) for one in strings] + strings)


@given(st.lists(st.binary(max_size=300)))
def test_strings_come_back(strings: list[bytes]) -> None:
    assert split_strings("x", joined(strings), len(strings)) == strings


@given(st.binary(max_size=50), st.integers(-5, 60))
def test_any_bytes_are_split_exactly_or_refused(content: bytes, count: int) -> None:
    try:
        found = split_strings("x", content, count)
    except errors.InvalidTensor:
        return
    assert len(found) == count
    assert content.endswith(b"".join(found))


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (b"\x02a", 1),
        (b"\x01ab", 1),
        (b"\x80", 1),
        (b"\x80" * 9, 1),
        (b"\xff\xff\xff\xff\x0fa", 1),
        (b"\x01a", 10**12),
        (b"\x01a", -1),
        (b"a", 0),
    ],
)
def test_lengths_that_do_not_fit_are_refused(content: bytes, count: int) -> None:
    with pytest.raises(errors.InvalidTensor, match="are not the lengths of"):
        split_strings("x", content, count)
