"""Threads that decode images, in turns."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from inference_service.cards.batching import Priority, leader
from inference_service.images.decoding import ImageDecoding
from service_kit import errors

# A request with many images lets others have a thread after these seconds. Changing threads takes
# about a thousandth of that.
_TURN_SECONDS = 0.05


class Decoders:
    """Decodes interactive requests before bulk, and none to its end while others wait.

    Belongs to the event loop. What waits is bounded by the cards' queues, where a request has its
    places before it is decoded.
    """

    def __init__(self, threads: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts no thread yet; `clock` (seconds) measures the turns."""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._clock = clock
        self._free = threads
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {
            priority: deque() for priority in Priority
        }
        self._passed_over = 0
        self._closed = False

    async def decode(
        self, decoding: ImageDecoding, priority: Priority, is_wanted: Callable[[], bool]
    ) -> bool:
        """Decodes all images; returns False as soon as nobody wants them any more.

        Args:
            decoding: what to decode.
            priority: whose turn it is.
            is_wanted: asked before each image, on any thread.

        Raises:
            InvalidTensor: see `ImageDecoding.decode_next`.
            ServerStopping: the threads have been ended.
        """
        loop = asyncio.get_running_loop()
        while not decoding.is_done:
            await self._turn(priority)
            self._check_open()
            turn = self._threads.submit(self._decode, decoding, is_wanted)
            turn.add_done_callback(lambda _: _call_in(loop, self._next_turn))
            if not await asyncio.wrap_future(turn):
                return False
        return True

    def close(self) -> None:
        """Ends the threads, each after the image that it is at."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _decode(self, decoding: ImageDecoding, is_wanted: Callable[[], bool]) -> bool:
        until = self._clock() + _TURN_SECONDS
        while not decoding.is_done:
            self._check_open()
            if not is_wanted():
                return False
            decoding.decode_next()
            if self._clock() >= until:
                break
        return True

    def _check_open(self) -> None:
        if self._closed:
            raise errors.ServerStopping("the server is going away: ask another one")

    async def _turn(self, priority: Priority) -> None:
        """Returns when a thread is free for this one."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if priority is Priority.BULK and not self._waiting[priority]:
            self._passed_over = 0
        self._waiting[priority].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self._waiting[priority].remove(turn)
            if turn.done() and not turn.cancelled():
                self._next_turn()
            raise

    def _next_turn(self) -> None:
        """Gives a thread that is free to who is next."""
        while any(self._waiting.values()):
            first = leader(
                interactive=bool(self._waiting[Priority.INTERACTIVE]),
                bulk=bool(self._waiting[Priority.BULK]),
                passed_over=self._passed_over,
            )
            turn = self._waiting[first].popleft()
            # Else it was cancelled, and does not know it yet.
            if not turn.done():
                self._passed_over = self._passed_over + 1 if first is Priority.INTERACTIVE else 0
                turn.set_result(None)
                return
        self._free += 1


def _call_in(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    # At the end of the process the loop may be closed before the last image is decoded.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
