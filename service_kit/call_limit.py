"""How many calls a server has in flight, and how many it may have."""

from __future__ import annotations

import asyncio
from typing import Any

from service_kit import errors

# Health and reflection cost next to nothing, and have to answer above all when all else is full.
_UNCOUNTED = "/grpc."
# By then a server that answers at all has answered many of those it has.
_RETRY_SECONDS = 1.0


class CallLimit:
    """Counts calls from before their message is read to their end. Belongs to the event loop.

    What waits for a card is bounded by images and bytes, but a message has to be read before it can
    be refused there: this bounds the messages that are in memory for that. A stream is one call.
    """

    def __init__(self, most: int | None = None) -> None:
        """Begins without calls; `most` may be in flight, None: any number."""
        self._most = most
        self._inside = 0

    def refusal(self, method: str) -> errors.TooManyCalls | None:
        """Returns why a call of a full method is not taken; None: it is."""
        if self._most is None or self._inside < self._most or method.startswith(_UNCOUNTED):
            return None
        return errors.TooManyCalls(
            f"the server has {self._inside} calls in flight, as many as it may have: call later, "
            "or another replica",
            retry_after=_RETRY_SECONDS,
        )

    def count(self, method: str, task: asyncio.Task[Any]) -> None:
        """Counts a call until its task ends, whatever ends it and however far it got."""
        if not method.startswith(_UNCOUNTED):
            self._inside += 1
            task.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[Any]) -> None:
        self._inside -= 1
