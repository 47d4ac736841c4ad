"""Runs that several callers may follow: a retry joins what its first try began."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from exporter_service.specs.progress import Progress, Report
from service_kit import errors
from service_kit.artifacts.manifest import Manifest

Work = Callable[[Report], Awaitable[Manifest]]


class _Run:
    def __init__(self, work: Work, digest: str) -> None:
        self.digest = digest
        self.listeners: set[asyncio.Queue[Progress | None]] = set()
        self._latest: Progress | None = None
        self.task = asyncio.ensure_future(work(self._tell))
        self.task.add_done_callback(lambda _: self._send(None))

    def join(self) -> asyncio.Queue[Progress | None]:
        queue: asyncio.Queue[Progress | None] = asyncio.Queue()
        if self._latest is not None:
            queue.put_nowait(self._latest)
        if self.task.done():
            queue.put_nowait(None)
        self.listeners.add(queue)
        return queue

    def _tell(self, progress: Progress) -> None:
        self._latest = progress
        self._send(progress)

    def _send(self, event: Progress | None) -> None:
        for queue in self.listeners:
            queue.put_nowait(event)


class SharedRuns:
    """What runs at the moment, by request id."""

    def __init__(self) -> None:
        """Begins with nothing."""
        self._runs: dict[str, _Run] = {}

    async def follow(
        self, request_id: str, digest: str, work: Work
    ) -> AsyncGenerator[Progress | Manifest, None]:
        """Yields the progress and, last, the manifest of a run; starts it if none has the id.

        The run is cancelled when its last follower closes this.

        Args:
            request_id: of the request; empty: it is nobody else's.
            digest: of what is asked for.
            work: what to run.

        Raises:
            InvalidRequest: the id belongs to a run that was asked for something else.
            PbserveError: as the run raised it.
        """
        run = self._runs.get(request_id) if request_id else None
        if run is None:
            run = _Run(work, digest)
            if request_id:
                self._runs[request_id] = run
                run.task.add_done_callback(lambda _: self._runs.pop(request_id, None))
        elif run.digest != digest:
            raise used_for_another(request_id)
        queue = run.join()
        try:
            while (event := await queue.get()) is not None:
                yield event
            yield await asyncio.shield(run.task)
        finally:
            run.listeners.discard(queue)
            if not run.listeners:
                # Nobody may join what is about to be cancelled.
                if self._runs.get(request_id) is run:
                    del self._runs[request_id]
                run.task.cancel()
                await asyncio.wait([run.task])


def used_for_another(request_id: str) -> errors.InvalidRequest:
    """Returns the error of an id that has been used for something else."""
    return errors.InvalidRequest(
        f"request_id {request_id} was used for another request: give each request its own"
    )
