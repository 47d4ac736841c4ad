"""When the requests of one stream are due."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

# In one stream.
MAX_OUTSTANDING = 1000

Clock = Callable[[], float]


class Schedule(Protocol):
    """Says when the next request is due. Threads may share it."""

    def next(self) -> float | None:
        """Waits until the next request may go, and returns when it was due; None: no more."""

    def give_back(self, due: float) -> None:
        """Hears that a request of `next` was not sent; it is due as before."""

    def answered(self, pause: float) -> None:
        """Hears of an answer, or of an error with seconds that the server asks to wait."""

    def wake(self) -> None:
        """Lets `next` notice that it has been stopped."""


class ClosedLoop:
    """A caller that waits for answers: so many requests under way, and no more.

    A request is due when a place gets free, so a slow server slows the load down, too.
    """

    def __init__(
        self, window: int, ends: float, stopped: threading.Event, clock: Clock = time.perf_counter
    ) -> None:
        """Keeps `window` requests under way until `ends`, or until it is stopped."""
        self._places = _Places(window, ends, stopped, clock)
        self._ends, self._clock, self._stopped = ends, clock, stopped
        self._not_before = 0.0

    def next(self) -> float | None:
        """Waits for a place."""
        if not self._places.take():
            return None
        wait = min(self._not_before, self._ends) - self._clock()
        if wait > 0 and self._stopped.wait(wait):
            return None
        now = self._clock()
        return now if now < self._ends else None

    def give_back(self, due: float) -> None:  # noqa: ARG002 - it is due when it goes
        """Frees its place."""
        self._places.free()

    def answered(self, pause: float) -> None:
        """Frees a place."""
        if pause:
            self._not_before = self._clock() + pause
        self._places.free()

    def wake(self) -> None:
        """See `Schedule`."""
        self._places.wake()


class OpenLoop:
    """Callers who come when they come: a request is due at fixed times, whatever the server does.

    One that goes late, because the load or the server is behind, was due all the same: its
    latency counts from then. Otherwise a server that stalls would hide the requests that it kept
    from being sent ("coordinated omission").
    """

    def __init__(
        self,
        begins: float,
        ends: float,
        seconds_between: float,
        max_outstanding: int,
        stopped: threading.Event,
        clock: Clock = time.perf_counter,
    ) -> None:
        """Makes requests due from `begins` until `ends`, or until it is stopped.

        With `max_outstanding` under way, the next one goes late.
        """
        self._begins, self._ends, self._between = begins, ends, seconds_between
        self._clock, self._stopped = clock, stopped
        self._places = _Places(max_outstanding, ends, stopped, clock)
        self._lock = threading.Lock()
        self._count = 0
        self._not_sent: deque[float] = deque()

    def next(self) -> float | None:
        """Waits until the next one is due."""
        if not self._places.take():
            return None
        with self._lock:
            due = self._due()
        if due >= self._ends:
            self._places.free()
            return None
        wait = due - self._clock()
        if wait > 0 and self._stopped.wait(wait):
            return None
        return due

    def _due(self) -> float:
        if self._not_sent:
            return self._not_sent.popleft()
        self._count += 1
        # Not a sum: its error would grow.
        return self._begins + (self._count - 1) * self._between

    def give_back(self, due: float) -> None:
        """Frees its place, and has it go next."""
        with self._lock:
            self._not_sent.append(due)
        self._places.free()

    def answered(self, pause: float) -> None:  # noqa: ARG002 - who comes does not know of others
        """Frees a place."""
        self._places.free()

    def wake(self) -> None:
        """See `Schedule`."""
        self._places.wake()


class _Places:
    """Requests that may be under way."""

    def __init__(self, count: int, ends: float, stopped: threading.Event, clock: Clock) -> None:
        self._free = count
        self._ends, self._stopped, self._clock = ends, stopped, clock
        self._changed = threading.Condition()

    def take(self) -> bool:
        """Waits for a place; False: it is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._free or self._stopped.is_set(), max(0.0, self._ends - self._clock())
            )
            if not self._free or self._stopped.is_set():
                return False
            self._free -= 1
            return True

    def free(self) -> None:
        """Frees a place."""
        with self._changed:
            self._free += 1
            self._changed.notify()

    def wake(self) -> None:
        """Lets those that wait notice that it has been stopped."""
        with self._changed:
            self._changed.notify_all()
