from __future__ import annotations

import pytest

from service_kit import errors
from service_kit.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8600", Address("127.0.0.1", 8600)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:8500", Address("::1", 8500)),
    ],
)
def test_reads_and_writes_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "8600", ":8600", "host", "host:", "host:-1", "host:65536"])
def test_says_what_an_address_looks_like(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="write host:port"):
        parse_address(text)
