"""The way from the cards' threads to the event loop: one crossing for whatever waits to go."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from inference_service.cards.queued_request import QueuedRequest
from service_kit import errors


class Crossing:
    """Tells waiting coroutines of results, all that have come meanwhile in one call of the loop.

    To wake an event loop costs more than what most requests cost besides.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leads to `loop`."""
        self.loop = loop
        self._arrived: deque[tuple[Answers, QueuedRequest]] = deque()
        self._is_called = False

    def bring(self, answers: Answers, request: QueuedRequest) -> None:
        """Has `answers` hear of a request on the loop. Any thread."""
        self._arrived.append((answers, request))
        if not self._is_called:
            self._is_called = True
            # A loop that is closed has nobody who waits.
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        # In this order: what comes from here on calls again, or is seen below.
        self._is_called = False
        arrived = self._arrived
        while arrived:
            answers, request = arrived.popleft()
            answers.take(request)


class Answers:
    """Waits for the results of a request's shares. Belongs to the event loop but for `hear`."""

    __slots__ = ("_crossing", "_missing", "done")

    def __init__(self, crossing: Crossing) -> None:
        """Waits for one share; see `expect`."""
        self._crossing = crossing
        # Ends when all shares are answered, or one has failed.
        self.done: asyncio.Future[None] = crossing.loop.create_future()
        self._missing = 1

    def hear(self, request: QueuedRequest) -> None:
        """See `Asker`."""
        self._crossing.bring(self, request)

    def expect(self, shares: int) -> None:
        """There are so many shares; before the loop goes on from where they were queued."""
        self._missing = shares

    def take(self, request: QueuedRequest) -> None:
        """One share has its result; the first error ends the waiting."""
        self._missing -= 1
        failed = isinstance(request.result, errors.PbserveError)
        if (failed or not self._missing) and not self.done.done():
            self.done.set_result(None)
