"""Runs TensorFlow's part of a request in a spawned process that may die on its own.

The server's process never loads TensorFlow: a crash, a leak or an abort costs the one request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import structlog

from exporter_service.specs.progress import Progress, Report, Step
from exporter_service.workers.limits import TaskLimits, TaskWatch
from exporter_service.workers.process import NotBegun, TaskProcess
from exporter_service.workers.spares import SpareProcesses
from exporter_service.workers.waiting_line import WaitingLine
from exporter_service.workers.worker import Answer, Task
from service_kit import errors

__all__ = ["ConversionProcesses", "Task"]

_log = structlog.get_logger(__name__)
# How many processes may die on a task before it is given up: none of them had begun it.
_ATTEMPTS = 3


class ConversionProcesses:
    """Runs tasks of one kind: so many at a time, each in a process that ends with it."""

    def __init__(
        self,
        limit: int,
        spares: SpareProcesses | None = None,
        *,
        queue_limit: int = 64,
        task_limits: TaskLimits | None = None,
    ) -> None:
        """Runs `limit` tasks at a time; `queue_limit` more may wait.

        Args:
            limit: at least 1.
            spares: where processes come from, perhaps shared with tasks of other kinds; not
                closed here. None: a new process for each task.
            queue_limit: at least 0.
            task_limits: what one task may take; None: as much as it wants.
        """
        self._spares = spares or SpareProcesses(0)
        self._line = WaitingLine(limit, queue_limit)
        self._task_limits = task_limits or TaskLimits()
        self._callers: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, task: Task, report: Report) -> Any:
        """Returns the task's result; progress is reported as it comes.

        Cancelling this call kills the process.

        Raises:
            PbserveError: as the task raised it.
            QueueFull: too many tasks wait already.
            ConversionCrashed: the process ended without a result.
            ConversionTimedOut: the task took too long.
            ConversionTooLarge: the process had too much memory.
            ServerStopping: this has been closed.
            Exception: the task raised anything else; carries its trace.
        """
        async with self.place(report) as run_in_place:
            return await run_in_place(task)

    @contextlib.asynccontextmanager
    async def place(self, report: Report) -> AsyncIterator[Callable[[Task], Awaitable[Any]]]:
        """Holds one of the places inside the block, for tasks that belong together.

        Yields what runs a task, each in a process of its own, under one time limit for all.
        Raises, and lets tasks raise, what `run` does.
        """
        if self._closed:
            raise errors.ServerStopping("the exporter is stopping: ask again later")
        caller = asyncio.current_task()
        assert caller is not None
        self._callers.add(caller)
        try:
            async with self._line.place(lambda: report(Progress(Step.QUEUED))):
                report(Progress(Step.START))
                began = asyncio.get_running_loop().time()

                async def run_in_place(task: Task) -> Any:
                    answer = await self._supervise(task, report, began)
                    if answer.error is not None:
                        raise answer.error
                    return answer.result

                yield run_in_place
        finally:
            self._callers.discard(caller)

    async def close(self) -> None:
        """Kills what still runs, cancelling its callers and those who wait."""
        self._closed = True
        callers = set(self._callers)
        for caller in callers:
            caller.cancel()
        if callers:
            await asyncio.wait(callers)

    async def _supervise(self, task: Task, report: Report, began: float) -> Answer:
        """Gives the task to a process, and to a new one if that dies before it begins."""
        watch = TaskWatch(self._task_limits, began)
        process = self._spares.take()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._attempt(process, watch, task, report)
            except NotBegun as death:
                _log.warning("process_lost_before_task", pid=process.pid, how=str(death))
                how = str(death)
            if attempt < _ATTEMPTS:
                process = TaskProcess()
        raise errors.ConversionCrashed(
            f"{_ATTEMPTS} processes in a row ended before the conversion could begin, the last "
            f"one {how}; nothing was published: see the exporter's log"
        )

    async def _attempt(
        self, process: TaskProcess, watch: TaskWatch, task: Task, report: Report
    ) -> Answer:
        try:
            with watch.over(process):
                answer = await process.run(task, report)
        except BaseException as error:
            outcome = type(error).__name__
            raise
        else:
            outcome = type(answer.error).__name__ if answer.error else "done"
            watch.see_peak(answer.peak_bytes)
            return answer
        finally:
            await process.end()
            _log.info(
                "conversion_process_ended",
                entry=task.entry,
                pid=process.pid,
                outcome=outcome,
                seconds=round(watch.seconds, 3),
                peak_bytes=watch.peak_bytes,
            )
