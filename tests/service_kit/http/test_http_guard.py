from __future__ import annotations

import pytest

from service_kit.http.http_guard import cross_site_problem, host_problem


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:9500", "127.0.0.1:9500", "127.8.9.1", "[::1]:9500", "LOCALHOST:1"],
)
def test_hosts_that_are_this_machine_are_answered(host: str) -> None:
    assert host_problem([host]) == ""


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example:9500"],
        ["127.0.0.1.evil.example"],
        ["localhost.evil.example"],
        ["evil.example@127.0.0.1x"],
        ["192.0.2.7:9500"],
        ["[::1"],
        [""],
        [],
        ["localhost", "evil.example"],
    ],
)
def test_other_hosts_are_refused_and_the_words_say_what_to_do(hosts: list[str]) -> None:
    assert "open it as localhost" in host_problem(hosts)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Host": "localhost:9500", "Origin": "http://localhost:9500"},
        {"Host": "Status.Example", "Origin": "http://status.example"},
        # A proxy may have another name for us; the browser knows what is one site.
        {"Host": "inner:1", "Origin": "https://outer", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_forms_of_our_own_page_and_of_programs_are_answered(headers: dict[str, str]) -> None:
    assert cross_site_problem(headers) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": ""},
        {"Host": "localhost:9500", "Origin": "http://evil.example"},
        {"Host": "localhost:9500", "Origin": "http://localhost:9501"},
        {"Host": "localhost:9500", "Origin": "null"},
        {"Host": "", "Origin": "null"},
        {"Origin": "null"},
        {"Host": "localhost:9500", "Origin": "http://[localhost"},
    ],
)
def test_forms_of_other_pages_are_refused(headers: dict[str, str]) -> None:
    assert "another site" in cross_site_problem(headers)
