"""The token that says who calls. It is never printed, logged or part of an error."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any

from service_kit import errors

Token = str | Callable[[], str]
AsyncToken = str | Callable[[], str | Awaitable[str]]
# What a header can carry without being read as something else: visible ASCII.
_VISIBLE = re.compile(r"[!-~]+")


def current_token(token: Token) -> str:
    """Returns the token of the next call.

    Args:
        token: the token, or what is asked for it before each call; so that it may change.

    Raises:
        InvalidRequest: it is no text of visible ASCII characters.
    """
    return _check(token() if callable(token) else token)


async def current_token_async(token: AsyncToken) -> str:
    """As `current_token`, of what may be awaited as well."""
    value = token() if callable(token) else token
    return _check(await value if inspect.isawaitable(value) else value)


def _check(token: Any) -> str:
    if inspect.iscoroutine(token):
        token.close()
        raise errors.InvalidRequest("an async function as token is for the asyncio client")
    if not isinstance(token, str) or not _VISIBLE.fullmatch(token):
        raise errors.InvalidRequest(
            f"the token is no text of visible ASCII characters (it is a {type(token).__name__})"
        )
    return token
