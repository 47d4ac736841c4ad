"""Answers a stream of requests, several at a time, without reading further than it may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, Generic, TypeVar

from service_kit.server.open_streams import StreamEnd

Request = TypeVar("Request")
Response = TypeVar("Response")


async def answer_all(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Coroutine[Any, Any, Response]],
    *,
    window: int,
    keeps_order: Callable[[Request], bool],
    end: StreamEnd,
) -> AsyncGenerator[Response, None]:
    """Yields one response a request, as they are ready or in the order of the requests.

    Reads the next request only while fewer than `window` are unanswered or their answers not
    yet taken, so a slow reader of answers holds up its own stream and nothing else. When the
    requests end, what is in flight is finished; when this iterator is closed, it is cancelled.

    Args:
        requests: read by one task until they end.
        answer: must not raise for what concerns one request alone.
        window: requests in flight, at least 1.
        keeps_order: asked once, with the first request.
        end: once it is told, no further request is read; what was read is answered.

    Raises:
        ServerStopping: at the end, when `end` and not the requests ended the reading.
    """
    reading = _Reading(requests, answer, window, keeps_order)
    reader = asyncio.create_task(reading.read(end))
    reader.add_done_callback(lambda _: reading.ready.put_nowait(None))
    stopping = asyncio.create_task(end.wait())
    stopping.add_done_callback(lambda _: reader.cancel() if reading.is_to_be_cut(end) else None)
    try:
        while (task := await reading.ready.get()) is not None:
            response = await task
            reading.running.discard(task)
            yield response
            reading.places.release()
        if reading.was_cut:
            await end.linger()
        await reader
    finally:
        unfinished = (stopping, reader, *reading.running)
        for one in unfinished:
            one.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)


class _Reading(Generic[Request, Response]):
    """The reading side of one stream: a task for each request, within the window."""

    def __init__(
        self,
        requests: AsyncIterator[Request],
        answer: Callable[[Request], Coroutine[Any, Any, Response]],
        window: int,
        keeps_order: Callable[[Request], bool],
    ) -> None:
        self._requests = requests
        self._answer = answer
        self._keeps_order = keeps_order
        self.places = asyncio.Semaphore(window)
        # Tasks to hand out, in their order; None: there will be no more.
        self.ready: asyncio.Queue[asyncio.Task[Response] | None] = asyncio.Queue()
        self.running: set[asyncio.Task[Response]] = set()
        self._requests_ended = False
        self.was_cut = False

    def is_to_be_cut(self, end: StreamEnd) -> bool:
        """Whether there may be requests that are not to be read any more."""
        return end.is_told and not self._requests_ended

    async def read(self, end: StreamEnd) -> None:
        """Reads to the end, or until it is cancelled because of `end`."""
        try:
            await self._read_all()
            self._requests_ended = True
        except asyncio.CancelledError:
            if not end.is_told:
                raise
            self.was_cut = True
        if self.running:
            await asyncio.wait(self.running)
        if self.was_cut:
            raise end.error()

    async def _read_all(self) -> None:
        in_order: bool | None = None
        await self.places.acquire()
        async for request in self._requests:
            if in_order is None:
                in_order = self._keeps_order(request)
            task = asyncio.create_task(self._answer(request))
            self.running.add(task)
            if in_order:
                self.ready.put_nowait(task)
            else:
                task.add_done_callback(self.ready.put_nowait)
            await self.places.acquire()
