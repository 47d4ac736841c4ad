"""Open streams of requests: how many, and how they come to an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

from service_kit import errors

# A connection that is closed while its client still writes takes the answers with it that the
# client has not read. So much later the client knows that its stream has ended.
_LINGER_SECONDS = 0.2


class OpenStreams:
    """Streams whose requests may go on for ever, and how they come to an end."""

    def __init__(self, most: int | None = None) -> None:
        """Begins without streams; `most` may be open on one connection, None: any number.

        gRPC's own limit (`grpc.max_concurrent_streams`) refuses calls of clients that keep to it:
        it counts a call for a while after its client has seen the end.
        """
        # Once set, no open stream may be read any further.
        self.ending = asyncio.Event()
        self._most = most
        self._open: Counter[str] = Counter()
        self._none = asyncio.Event()
        self._none.set()

    def add(self, context: Any) -> None:
        """Counts the call of `context` until its status is sent.

        Raises:
            TooManyStreams: its connection has as many as it may have.
        """
        peer = str(context.peer())
        if self._most is not None and self._open[peer] >= self._most:
            raise errors.TooManyStreams(
                f"this connection has {self._most} open streams, as many as it may have: send more "
                "requests on one of them"
            )
        self._open[peer] += 1
        self._none.clear()
        context.add_done_callback(lambda _: self._ended(peer))

    def _ended(self, peer: str) -> None:
        self._open[peer] -= 1
        if not self._open[peer]:
            del self._open[peer]
        if not self._open:
            self._none.set()

    async def end(self, seconds: float) -> None:
        """Tells all streams to end, and returns when their clients know, or the time is over."""
        self.ending.set()
        if not self._open:
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._none.wait(), seconds)
            await asyncio.sleep(_LINGER_SECONDS)
