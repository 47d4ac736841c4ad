from __future__ import annotations

import math
from typing import Any

import pytest
import trustme

from service_kit import errors
from service_kit.client.connection import connection_to
from service_kit.client.retry import RetryPolicy
from service_kit.client.tls import Tls

ROOT = trustme.CA().cert_pem.bytes()


def test_a_token_goes_unencrypted_to_this_machine_only() -> None:
    assert connection_to("localhost:1", token="secret").arguments() == {  # noqa: S106
        "metadata": (("authorization", "Bearer secret"),)
    }
    for target in ("10.0.0.1:1", "dns:///pods:1", "ipv4:127.0.0.1:1,10.0.0.1:1"):
        with pytest.raises(errors.InvalidRequest, match="unencrypted") as caught:
            connection_to(target, token="secret")  # noqa: S106
        assert "secret" not in str(caught.value)
        trusted = connection_to(target, token="secret", send_token_unencrypted=True)  # noqa: S106
        assert list(trusted.arguments()) == ["metadata"]


def test_with_tls_grpc_itself_guards_the_token() -> None:
    opened = connection_to("10.0.0.1:1", token="secret", tls=Tls(ROOT))  # noqa: S106
    assert list(opened.arguments()) == ["credentials"]


def test_nobody_is_named_without_a_token() -> None:
    assert connection_to("10.0.0.1:1").arguments() == {}


async def test_a_token_may_be_awaited() -> None:
    async def token() -> str:
        return "later"

    opened = connection_to("localhost:1", token=token)
    assert await opened.arguments_async() == {"metadata": (("authorization", "Bearer later"),)}


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(connection_to("localhost:1", token="secret"))  # noqa: S106


def test_calls_have_the_timeout_of_the_client_unless_they_name_one() -> None:
    opened = connection_to("localhost:1", timeout=5)
    assert [opened.seconds(one) for one in (None, 3, math.inf)] == [5, 3, None]
    assert connection_to("localhost:1").seconds(None) is None


@pytest.mark.parametrize(
    "options",
    [{"timeout": -1}, {"tls": Tls("/nowhere")}],
)
def test_options_are_checked_before_the_first_call(options: Any) -> None:
    with pytest.raises(errors.InvalidRequest):
        connection_to("localhost:1", **options)


def test_the_default_policy_retries() -> None:
    assert connection_to("localhost:1").retry == RetryPolicy()
