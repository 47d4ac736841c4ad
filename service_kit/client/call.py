"""One call of a service with one response, without saying how it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from service_kit import errors

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """What both clients, synchronous and asyncio, need to know of an rpc.

    Attributes:
        rpc: its name.
        request: its message.
        result: from the response to what the caller gets.
        repeatable: whether a second try does no harm.
        done_by: what a second try ends with when the first one had succeeded, its answer lost.
    """

    rpc: str
    request: Any
    result: Callable[[Any], Result]
    repeatable: bool = True
    done_by: tuple[type[errors.PbserveError], ...] = ()


def nothing(_: Any) -> None:
    """The result of calls whose response is empty."""
