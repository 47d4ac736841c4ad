"""Open streams of requests: how many, and how they come to an end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service_kit import errors

# A connection that is closed while its client still writes takes the answers with it that the
# client has not read. So much later the client knows that its stream has ended.
_LINGER_SECONDS = 0.2
# The same, where the connection closes with the stream: by then a client has sent all that it can
# without an answer, at the latest because HTTP/2 lets it send no more. With 0.2 s, 4 of 260
# streams lost their status in a test, all of clients that never waited; with 0.5 s 1 of 240.
_AGE_LINGER_SECONDS = 0.5
# Of the age of a connection, by which its streams end later by chance: those of many clients that
# came together do not go together.
_AGE_SPREAD = 0.1


class StreamEnd:
    """Tells one stream that it has to end, and why. Belongs to the event loop."""

    def __init__(self) -> None:
        """Begins untold."""
        self._told = asyncio.Event()
        self._is_aged = False

    @property
    def is_told(self) -> bool:
        """Whether the stream has to end: no further request is read."""
        return self._told.is_set()

    def tell(self, *, aged: bool = False) -> None:
        """Has the stream end: for its connection's age, or because the server goes."""
        if not self.is_told:
            self._is_aged = aged
            self._told.set()

    async def wait(self) -> None:
        """Returns when the stream has to end."""
        await self._told.wait()

    async def linger(self) -> None:
        """Waits, after the last answer, until the stream's status may be sent.

        With its last stream gRPC closes a connection that has reached its age. A client that has
        sent all that it can without an answer writes no more, and reads everything.
        """
        if self._is_aged:
            await asyncio.sleep(_AGE_LINGER_SECONDS)

    def error(self) -> errors.ServerStopping:
        """Returns the error with which the stream ends."""
        if self._is_aged:
            return errors.ServerStopping(
                "the connection has reached its age (--max-connection-age): connect anew, and send "
                "what has no answer",
                retry_after=0.0,
            )
        return errors.ServerStopping(
            "the server is going away: send what has no answer to another one"
        )


@dataclass(slots=True)
class _Connection:
    """A connection with open streams: how many, and when they end (the loop's time)."""

    ends_at: float
    streams: int = 0


class OpenStreams:
    """Streams whose requests may go on for ever, and how they come to an end."""

    def __init__(
        self,
        max_streams: int | None = None,
        connection_seconds: float | None = None,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        """Begins without streams.

        gRPC's own limit (`grpc.max_concurrent_streams`) refuses calls of clients that keep to it:
        it counts a call for a while after its client has seen the end.

        Args:
            max_streams: open streams on one connection; None: any number.
            connection_seconds: age of a connection at which its streams end, or up to a tenth
                later; None: never. gRPC does not tell when a connection began, so it counts from
                the first of its streams.
            uniform: random, from 0 to 1.
        """
        self._max_streams = max_streams
        self._seconds = connection_seconds
        self._uniform = uniform
        self._ending = False
        self._open: dict[str, _Connection] = {}
        self._ends: set[StreamEnd] = set()
        self._none = asyncio.Event()
        self._none.set()

    def add(self, context: Any) -> StreamEnd:
        """Counts the call of `context` until its status is sent; returns what tells it to end.

        Raises:
            TooManyStreams: its connection has as many as it may have.
        """
        peer = str(context.peer())
        connection = self._open.get(peer)
        limit = self._max_streams
        if connection and limit is not None and connection.streams >= limit:
            raise errors.TooManyStreams(
                f"this connection has {limit} open streams, as many as it may have: send more "
                "requests on one of them"
            )
        loop = asyncio.get_running_loop()
        if connection is None:
            connection = self._open[peer] = _Connection(self._end_of(loop.time()))
            self._none.clear()
        elif connection.ends_at <= loop.time():
            # Its streams are ending. Who opens one more is not to be turned away again and again.
            connection.ends_at = self._end_of(loop.time())
        connection.streams += 1
        end = StreamEnd()
        if self._ending:
            end.tell()
        self._ends.add(end)
        timer = None
        if not math.isinf(connection.ends_at):
            timer = loop.call_at(connection.ends_at, lambda: end.tell(aged=True))

        def forget(_: Any) -> None:
            if timer:
                timer.cancel()
            self._ends.discard(end)
            self._forget(peer)

        context.add_done_callback(forget)
        return end

    def _end_of(self, began: float) -> float:
        if self._seconds is None:
            return math.inf
        return began + self._seconds * (1 + _AGE_SPREAD * self._uniform())

    def _forget(self, peer: str) -> None:
        connection = self._open[peer]
        connection.streams -= 1
        if not connection.streams:
            del self._open[peer]
        if not self._open:
            self._none.set()

    async def end(self, seconds: float) -> None:
        """Tells all streams to end, and returns when their clients know, or the time is over."""
        self._ending = True
        for end in self._ends:
            end.tell()
        if not self._open:
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._none.wait(), seconds)
            await asyncio.sleep(_LINGER_SECONDS)
