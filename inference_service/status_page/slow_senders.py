"""Forms that are being sent: who is slow makes room for who comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from service_kit import errors

Result = TypeVar("Result")

# A sender that is done within these is never sent away.
_PATIENCE_SECONDS = 3.0


class SlowSenders:
    """So many bodies at a time; the oldest gives way when all places are taken.

    Else a few senders that send a byte now and then would close the form to everybody. Belongs to
    the event loop.
    """

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Has `count` places; `clock` gives seconds."""
        self._count = count
        self._clock = clock
        # In the order of their beginnings.
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._sent_away: set[asyncio.Task[Any]] = set()

    async def read(self, body: Coroutine[Any, Any, Result]) -> Result:
        """Returns what reading a body returns; raises what it raises.

        Raises:
            QueueFull: all places are taken, by senders that have just begun.
            DeadlineExpired: others came while it was slow.
        """
        try:
            self._make_room()
        except errors.QueueFull:
            body.close()
            raise
        task = asyncio.create_task(body)
        self._reading[task] = self._clock()
        try:
            return await task
        except asyncio.CancelledError:
            if task not in self._sent_away:
                task.cancel()
                raise
            raise errors.DeadlineExpired(
                "send the image again: it came slowly, and others wanted the place"
            ) from None
        finally:
            self._reading.pop(task, None)
            self._sent_away.discard(task)

    def _make_room(self) -> None:
        if len(self._reading) < self._count:
            return
        oldest, began = next(iter(self._reading.items()))
        if self._clock() - began < _PATIENCE_SECONDS:
            raise errors.QueueFull(
                f"this page takes {self._count} images at a time: try again in a moment",
                retry_after=1.0,
            )
        del self._reading[oldest]
        self._sent_away.add(oldest)
        oldest.cancel()
