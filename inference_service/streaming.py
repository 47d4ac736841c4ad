"""Answers a stream of requests, several at a time, without reading further than it may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

Request = TypeVar("Request")
Response = TypeVar("Response")


async def answer_all(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Response]],
    *,
    window: int,
    keeps_order: Callable[[Request], bool],
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
    """
    places = asyncio.Semaphore(window)
    ready: asyncio.Queue[asyncio.Task[Response] | None] = asyncio.Queue()
    running: set[asyncio.Task[Response]] = set()

    async def run(request: Request) -> Response:
        return await answer(request)

    async def read() -> None:
        in_order: bool | None = None
        await places.acquire()
        async for request in requests:
            if in_order is None:
                in_order = keeps_order(request)
            task = asyncio.create_task(run(request))
            running.add(task)
            if in_order:
                ready.put_nowait(task)
            else:
                task.add_done_callback(ready.put_nowait)
            await places.acquire()
        if running:
            await asyncio.wait(running)

    reader = asyncio.create_task(read())
    reader.add_done_callback(lambda _: ready.put_nowait(None))
    try:
        while (task := await ready.get()) is not None:
            response = await task
            running.discard(task)
            yield response
            places.release()
        await reader
    finally:
        unfinished = (reader, *running)
        for task_ in unfinished:
            task_.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
