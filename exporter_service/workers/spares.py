"""Processes that are started ahead, so that a task need not wait for its imports."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import structlog

from exporter_service.workers.process import TaskProcess

_log = structlog.get_logger(__name__)
# Each spare is replaced so often when it ends by itself; then the next task has to come first.
# One that cannot even import its modules would otherwise be started for ever.
_REPLACEMENTS = 3


class SpareProcesses:
    """A number of processes that have imported modules and wait for a task each."""

    def __init__(self, count: int = 1, modules: tuple[str, ...] = ()) -> None:
        """Keeps `count` processes, from 0, that have imported `modules`, from `start` on."""
        self._count = count
        self._modules = modules
        self._open = False
        self._idle: list[TaskProcess] = []
        self._lost = 0
        self._waiting: set[asyncio.Future[None]] = set()

    async def start(self) -> None:
        """Starts the spares, without waiting until they are warm."""
        self._open = True
        self._refill()

    def take(self) -> TaskProcess:
        """Returns a warm process, else one that is starting, else a new one.

        The caller owns it. A new one imports nothing ahead: its task knows best what it needs.
        """
        taken = min(self._idle, key=lambda process: not process.ready.is_set(), default=None)
        if taken is None:
            taken = TaskProcess()
        else:
            self._idle.remove(taken)
        self._lost = 0
        if taken.ready.is_set() or not self._modules:
            self._refill()
        else:
            # Two that import at the same time would make this task wait twice as long.
            waiting = asyncio.ensure_future(self._refill_after(taken))
            self._waiting.add(waiting)
            waiting.add_done_callback(self._waiting.discard)
        return taken

    async def close(self) -> None:
        """Ends the spares; those that were taken are their takers'."""
        self._open = False
        for waiting in self._waiting:
            waiting.cancel()
        idle, self._idle = self._idle, []
        for process in idle:
            process.kill()
        for process in idle:
            await process.end()

    async def _refill_after(self, process: TaskProcess) -> None:
        """Refills when a process has come up, or is gone."""
        ready = asyncio.ensure_future(process.ready.wait())
        try:
            either: set[asyncio.Future[Any]] = {ready, process.ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        self._refill()

    def _refill(self) -> None:
        while (
            self._open
            and len(self._idle) < self._count
            and self._lost <= _REPLACEMENTS * self._count
        ):
            try:
                process = TaskProcess(self._modules)
            except (OSError, RuntimeError) as error:
                # No descriptor or thread is left. Whoever takes a spare must not suffer from it.
                _log.warning("spare_process_not_started", reason=str(error))
                return
            self._idle.append(process)
            process.ended.add_done_callback(partial(self._ended, process))

    def _ended(self, process: TaskProcess, _: asyncio.Future[int | None]) -> None:
        if process not in self._idle:
            return
        self._idle.remove(process)
        self._lost += 1
        _log.warning(
            "spare_process_lost",
            pid=process.pid,
            warm=process.ready.is_set(),
            how=process.how_it_ended(),
        )
        self._refill()
