from __future__ import annotations

import pytest

from service_kit import errors
from service_kit.client.replicas import replicas, server_name


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:8500", ("127.0.0.1:8500",)),
        ("dns:///127.0.0.1:8500", ("127.0.0.1:8500",)),
        ("dns:[::1]:8500", ("[::1]:8500",)),
        (
            "ipv4:127.0.0.1:1,127.0.0.1:2,127.0.0.1:1",
            ("ipv4:127.0.0.1:1", "ipv4:127.0.0.1:2"),
        ),
        ("ipv6:[::1]:1,[::1]:2", ("ipv6:[::1]:1", "ipv6:[::1]:2")),
        ("unix:/run/pbserve.sock", ("unix:/run/pbserve.sock",)),
    ],
)
def test_a_target_has_a_target_for_each_server(target: str, expected: tuple[str, ...]) -> None:
    assert replicas(target) == expected


def test_a_name_has_all_of_its_addresses_once() -> None:
    found = replicas("dns:///localhost:8500")
    assert "127.0.0.1:8500" in found
    assert len(set(found)) == len(found)


def test_a_name_that_nobody_knows_is_a_server_that_is_not_there() -> None:
    with pytest.raises(errors.ServerStopping, match="has no addresses"):
        replicas("dns:///nobody.invalid:8500")


@pytest.mark.parametrize("target", ["xds:///fleet:8500", "fleet", "dns:///fleet", "http://f:1"])
def test_a_target_that_lists_no_servers_is_told(target: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        replicas(target)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("dns:///pods.serving.svc:8500", "pods.serving.svc"),
        ("pods.serving.svc:8500", "pods.serving.svc"),
        ("ipv4:127.0.0.1:1", ""),
        ("unix:/run/pbserve.sock", ""),
    ],
)
def test_certificates_are_for_the_name_that_was_asked_for(target: str, name: str) -> None:
    assert server_name(target) == name
