from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from exporter_service.workers.limits import TaskLimits, TaskWatch
from exporter_service.workers.process import NotBegun, TaskProcess
from service_kit import errors


class Process:
    """A process that has an id, and an end when it is killed."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        self.killed = asyncio.Event()

    def kill(self) -> None:
        self.killed.set()


async def watched(limits: TaskLimits, pid: int | None, end: Exception) -> TaskWatch:
    """Raises `end` when the watch kills the process."""
    process, watch = Process(pid), TaskWatch(limits)
    with watch.over(cast("TaskProcess", cast("Any", process))):
        await process.killed.wait()
        raise end
    return watch


@pytest.mark.parametrize("end", [NotBegun("x"), errors.ConversionCrashed("x")])
@pytest.mark.parametrize("pid", [None, 1])
async def test_time_is_up_whether_or_not_the_process_has_begun(
    end: Exception, pid: int | None
) -> None:
    with pytest.raises(errors.ConversionTimedOut, match=r"0\.01 s"):
        await watched(TaskLimits(seconds=0.01), pid, end)


async def test_a_death_of_its_own_stays_what_it_is() -> None:
    watch = TaskWatch(TaskLimits(seconds=60, memory_bytes=2**40))
    with (
        pytest.raises(errors.ConversionCrashed, match="of its own"),
        watch.over(cast("TaskProcess", cast("Any", Process(None)))),
    ):
        raise errors.ConversionCrashed("of its own")


async def test_a_task_that_was_done_in_the_moment_of_its_verdict_is_done() -> None:
    process, watch = Process(None), TaskWatch(TaskLimits(seconds=0))
    with watch.over(cast("TaskProcess", cast("Any", process))):
        await process.killed.wait()
    assert watch.seconds > 0


async def test_the_peak_is_the_largest_that_anybody_saw() -> None:
    watch = TaskWatch(TaskLimits())
    watch.see_peak(7)
    watch.see_peak(5)
    assert watch.peak_bytes == 7
