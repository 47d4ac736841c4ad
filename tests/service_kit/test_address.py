from __future__ import annotations

import errno
import socket

import pytest

from service_kit import errors
from service_kit.address import Address, cannot_listen, check_free, parse_address


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


def test_a_taken_port_and_another_machines_host_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(errors.InvalidRequest, match=f"^cannot listen on {address}: .* in use"):
            check_free(address)
    check_free(address)
    with pytest.raises(errors.InvalidRequest, match="the host is not this machine's"):
        check_free(Address("192.0.2.1", 0))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EACCES, "Permission denied"), "give a port of 1024 or higher"),
        (socket.gaierror(-2, "Name or service not known"), "the host is not this machine's"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (UnicodeError("label too long"), "label too long"),
    ],
)
def test_other_reasons_are_said(error: Exception, words: str) -> None:
    assert words in str(cannot_listen(Address("h", 1), error))
