"""Places for a few, and a bounded line for those who wait for one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable

from service_kit import errors

_RETRY_AFTER_SECONDS = 5.0


class WaitingLine:
    """First come, first served.

    `asyncio.Semaphore` lets newcomers overtake in early Python 3.10, and knows no bound.
    """

    def __init__(self, places: int, limit: int) -> None:
        """Gives away `places`, at least 1; `limit` callers, at least 0, may wait for one."""
        self._free = places
        self._limit = limit
        self._line: deque[asyncio.Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def place(self, queued: Callable[[], None]) -> AsyncIterator[None]:
        """Holds a place inside the block; calls `queued` first if it has to wait for one.

        Raises:
            QueueFull: too many wait already.
        """
        if self._free:
            self._free -= 1
        elif len(self._line) >= self._limit:
            raise errors.QueueFull(
                f"{len(self._line)} requests of this kind wait for a process, and no more may: ask "
                "again later, or start the exporter with a higher --queue-limit",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        else:
            queued()
            await self._wait()
        try:
            yield
        finally:
            self._leave()

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):
                    self._line.remove(turn)
            else:
                # It was given the place and cannot use it any more.
                self._leave()
            raise

    def _leave(self) -> None:
        """Passes a place on to who waits longest: it is never free in between."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
