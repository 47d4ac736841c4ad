"""Calls in flight: how many there may be, and how the last are answered before a port closes."""

from __future__ import annotations

import asyncio
import contextlib

from service_kit import errors

# Health is watched until the end and reflection may be: neither holds it up, or is refused; and
# health has to answer above all when all else is full.
_UNCOUNTED = "/grpc."
# Calls that a client had sent when the server closed have arrived so much later, and those that
# were answered last are read.
_LINGER_SECONDS = 0.2
# By then a server that answers at all has answered many of those it has.
_RETRY_SECONDS = 1.0


class InFlightCalls:
    """Lets calls in until it is closed. Belongs to the event loop.

    gRPC's own stop cancels calls that have arrived and have not begun, and their callers learn
    nothing that tells them to try another server.
    """

    def __init__(self, max_calls: int | None = None) -> None:
        """Begins open; `max_calls` may be inside, a stream being one; None: any number.

        What waits for a card is bounded by images and bytes; this bounds what is in memory besides,
        with messages that have been read.
        """
        self._max_calls = max_calls
        self._closed = False
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self, method: str) -> None:
        """Counts a call.

        Raises:
            ServerStopping: new calls are refused.
            TooManyCalls: as many calls are inside as may be.
        """
        if method.startswith(_UNCOUNTED):
            return
        if self._closed:
            raise errors.ServerStopping("the server is going away: ask another one")
        if refusal := self.refusal(method):
            raise refusal
        self._inside += 1
        self._empty.clear()

    def refusal(self, method: str) -> errors.TooManyCalls | None:
        """Returns why no further call of a full method is let in for now; None: it is."""
        if (
            self._max_calls is None
            or self._inside < self._max_calls
            or method.startswith(_UNCOUNTED)
        ):
            return None
        return errors.TooManyCalls(
            f"the server has {self._inside} calls in flight, as many as it may have: call later, "
            "or another replica",
            retry_after=_RETRY_SECONDS,
        )

    def leave(self, method: str) -> None:
        """Ends the count of a call that was let in."""
        if method.startswith(_UNCOUNTED):
            return
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    async def close(self, seconds: float) -> None:
        """Refuses new calls; returns when those inside are answered, or the time is over."""
        self._closed = True
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)
        await asyncio.sleep(min(_LINGER_SECONDS, seconds))
