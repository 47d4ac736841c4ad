"""Calls in flight, and how the last of them are answered before a port is closed."""

from __future__ import annotations

import asyncio
import contextlib

from service_kit import errors

# Health is watched until the end and reflection may be: neither holds it up, or is refused.
_UNCOUNTED = "/grpc."
# Calls that a client had sent when the gate was closed have arrived so much later, and those that
# were answered last are read.
_LINGER_SECONDS = 0.2


class Gate:
    """Lets calls in until it is closed. Belongs to the event loop.

    gRPC's own stop cancels calls that have arrived and have not begun, and their callers learn
    nothing that tells them to try another server.
    """

    def __init__(self) -> None:
        """Begins open."""
        self._closed = False
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self, method: str) -> None:
        """Counts a call.

        Raises:
            ServerStopping: the gate is closed.
        """
        if method.startswith(_UNCOUNTED):
            return
        if self._closed:
            raise errors.ServerStopping("the server is going away: ask another one")
        self._inside += 1
        self._empty.clear()

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
