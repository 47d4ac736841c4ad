from __future__ import annotations

import pytest

from service_kit import errors
from service_kit.client.target import check_target, is_loopback


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:8500", "127.0.0.1:8500"),
        ("::1:8500", "[::1]:8500"),
        ("pods.serving:8500", "pods.serving:8500"),
        ("dns:///pods.serving.svc:8500", "dns:///pods.serving.svc:8500"),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", "ipv4:127.0.0.1:1,127.0.0.1:2"),
        ("unix:/run/pbserve.sock", "unix:/run/pbserve.sock"),
    ],
)
def test_addresses_and_targets_of_grpc_are_taken(text: str, target: str) -> None:
    assert check_target(text) == target


@pytest.mark.parametrize("text", ["", "host", "host:", ":8500", "host:port", "host:99999", "dns:"])
def test_what_is_no_address_is_told_at_once(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="write host:port"):
        check_target(text)


@pytest.mark.parametrize("text", ["http://localhost:8500", "HTTPS://host:8500/", "grpc://h:1"])
def test_a_url_is_told_from_an_address(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="is a URL"):
        check_target(text)


def test_an_address_is_a_text() -> None:
    with pytest.raises(errors.InvalidRequest, match="8500 is not an address"):
        check_target(8500)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:8500",
        "127.8.0.1:8500",
        "[::1]:8500",
        "localhost:8500",
        "dns:///localhost:8500",
        "dns:localhost:8500",
        "ipv4:127.0.0.1:1,127.0.0.1:2",
        "ipv6:[::1]:1",
        "unix:/run/pbserve.sock",
        "unix-abstract:pbserve",
    ],
)
def test_some_targets_are_on_this_machine(target: str) -> None:
    assert is_loopback(target)


@pytest.mark.parametrize(
    "target",
    [
        "localhost.example.org:8500",
        "10.0.0.1:8500",
        "0.0.0.0:8500",
        "dns://127.0.0.1/pods.serving:8500",
        "ipv4:127.0.0.1:1,10.0.0.1:2",
        "xds:///pods",
        "vsock:2:1",
    ],
)
def test_other_targets_may_be_anywhere(target: str) -> None:
    assert not is_loopback(target)
