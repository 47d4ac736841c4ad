"""Blocking work beside the event loop, on threads that cannot keep the process alive."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class TimeIsUp(Exception):
    """The work goes on, and nobody waits for it any more."""


class BackgroundWork(Generic[Result]):
    """Runs one piece of work after the other. Belongs to the event loop.

    An executor's threads are joined when the process ends: one that hangs in a graph would hold
    up the end, and everything that waits behind it.
    """

    def __init__(
        self,
        name: str,
        *,
        seconds: float | None = None,
        discard: Callable[[Result], None] = lambda _: None,
    ) -> None:
        """Begins idle.

        Args:
            name: of the threads.
            seconds: that a piece of work may take; None: any time.
            discard: called, on the work's thread, with a result that comes too late.
        """
        self._name = name
        self._seconds = seconds
        self._discard = discard
        self._turn = asyncio.Lock()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Returns what the work returns, or raises what it raises.

        Raises:
            TimeIsUp: it takes longer than it may; its thread is left alone.
        """
        async with self._turn:
            piece = _Piece(work, self._discard, asyncio.get_running_loop())
            threading.Thread(target=piece.run, name=self._name, daemon=True).start()
            try:
                return await asyncio.wait_for(asyncio.shield(piece.done), self._seconds)
            except asyncio.TimeoutError:
                if piece.give_up():
                    raise TimeIsUp from None
                return await piece.done


class _Piece(Generic[Result]):
    """One piece of work, which somebody waits for until they give up."""

    def __init__(
        self,
        work: Callable[[], Result],
        discard: Callable[[Result], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.done: asyncio.Future[Result] = loop.create_future()
        self._work = work
        self._discard = discard
        self._loop = loop
        self._lock = threading.Lock()
        self._given_up = False
        self._ended = False

    def give_up(self) -> bool:
        """Returns whether the work had not ended; then its result is discarded."""
        with self._lock:
            self._given_up = not self._ended
        return self._given_up

    def run(self) -> None:
        try:
            result = self._work()
        except StopIteration as error:
            # Which no future takes.
            self._fails(RuntimeError(f"the work raised {error!r}"))
            return
        except BaseException as error:
            self._fails(error)
            return
        if self._ends():
            self._tell(self.done.set_result, result)
        else:
            self._discard(result)

    def _fails(self, error: BaseException) -> None:
        if self._ends():
            self._tell(self.done.set_exception, error)

    def _ends(self) -> bool:
        with self._lock:
            self._ended = not self._given_up
        return self._ended

    def _tell(self, tell: Callable[..., None], value: object) -> None:
        def unless_cancelled() -> None:
            if not self.done.done():
                tell(value)

        # A loop that is closed has nobody left who waits.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(unless_cancelled)
