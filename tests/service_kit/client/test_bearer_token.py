from __future__ import annotations

from typing import Any

import pytest

from service_kit import errors
from service_kit.client.bearer_token import current_token, current_token_async


def test_a_function_is_asked_each_time() -> None:
    tokens = iter(["one", "two"])
    assert [current_token(lambda: next(tokens)) for _ in range(2)] == ["one", "two"]
    assert current_token("fixed") == "fixed"


async def test_asyncio_callers_may_give_any_function() -> None:
    async def later() -> str:
        return "later"

    assert await current_token_async(later) == "later"
    assert await current_token_async(lambda: "now") == "now"
    assert await current_token_async("fixed") == "fixed"


def test_an_async_function_is_for_asyncio() -> None:
    async def later() -> str:
        return "later"

    with pytest.raises(errors.InvalidRequest, match="for the asyncio client"):
        current_token(later)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "token", ["", "has space", "line\nbreak", "se\u0301cret", "\x00", b"secret", 5]
)
async def test_what_no_header_can_hold_is_refused_without_being_shown(token: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="no text of visible ASCII") as caught:
        current_token(token)
    assert not token or str(token) not in str(caught.value)
    with pytest.raises(errors.InvalidRequest, match="no text of visible ASCII"):
        await current_token_async(lambda: token)


def test_what_the_callers_function_raises_reaches_the_caller() -> None:
    def token() -> str:
        raise LookupError("no token today")

    with pytest.raises(LookupError, match="no token today"):
        current_token(token)
