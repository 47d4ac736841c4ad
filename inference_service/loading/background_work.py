"""Blocking work beside the event loop, on threads that cannot keep the process alive."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


# Pieces that run at the same time, when all but the latest have taken longer than others wait.
_MAX_AT_A_TIME = 8


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
        patience: float | None = None,
        discard: Callable[[Result], None] = lambda _: None,
    ) -> None:
        """Begins idle.

        Args:
            name: of the threads.
            seconds: that a piece of work may take; None: any time.
            patience: seconds after which the next piece begins beside one that still runs; None:
                it waits for its end.
            discard: called, on the work's thread, with a result that comes too late.
        """
        self._name = name
        self._seconds = seconds
        self._discard = discard
        self._patience = patience
        self._turn = asyncio.Lock()
        self._places = asyncio.Semaphore(_MAX_AT_A_TIME)
        self._running: set[asyncio.Future[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._threads: set[threading.Thread] = set()

    @property
    def unfinished(self) -> int:
        """Pieces whose threads still run, also those that nobody waits for any more."""
        self._threads = {thread for thread in self._threads if thread.is_alive()}
        return len(self._threads)

    def join(self, seconds: float) -> bool:
        """Waits for the threads of all pieces; False: one takes longer. Blocks."""
        end = time.monotonic() + seconds
        for thread in [*self._threads]:
            thread.join(max(0.0, end - time.monotonic()))
        return not self.unfinished

    def give_up(self) -> None:
        """Has everything that runs now raise `TimeIsUp` where it is waited for."""
        for running in [*self._running]:
            if not running.done():
                running.set_result(None)

    async def run(self, work: Callable[[], Result], *, alone: bool = False) -> Result:
        """Returns what the work returns, or raises what it raises.

        Args:
            work: runs on a thread of its own.
            alone: whether nothing else may run at the same time, however long it takes.

        Raises:
            TimeIsUp: it takes longer than it may, or is given up; its thread is left alone.
        """
        async with self._places:
            await self._turn.acquire()
            patience = None if alone else self._patience
            try:
                if alone:
                    await self._idle.wait()
            except asyncio.CancelledError:
                self._turn.release()
                raise
            began = time.monotonic()
            loop = asyncio.get_running_loop()
            piece, given_up = _Piece(work, self._discard, loop), loop.create_future()
            self._running.add(given_up)
            self._idle.clear()
            try:
                try:
                    self._start(piece)
                    await _first_of([piece.done, given_up], _least(self._seconds, patience))
                finally:
                    self._turn.release()
                left = None if self._seconds is None else self._seconds - time.monotonic() + began
                await _first_of([piece.done, given_up], left)
            except asyncio.CancelledError:
                piece.give_up()
                raise
            finally:
                self._running.discard(given_up)
                if not self._running:
                    self._idle.set()
            if not piece.done.done() and piece.give_up():
                raise TimeIsUp
            return await piece.done

    def _start(self, piece: _Piece[Result]) -> None:
        thread = threading.Thread(target=piece.run, name=self._name, daemon=True)
        thread.start()
        self._threads.add(thread)


def _least(*seconds: float | None) -> float | None:
    return min((one for one in seconds if one is not None), default=None)


async def _first_of(futures: Collection[asyncio.Future[Any]], seconds: float | None) -> None:
    """Returns when one of them is done, or so many seconds have passed; cancels none."""
    if seconds is None or seconds > 0:
        await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


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
