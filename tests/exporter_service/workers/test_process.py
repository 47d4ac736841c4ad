from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from exporter_service.specs.progress import Progress
from exporter_service.workers.process import NotBegun, TaskProcess
from exporter_service.workers.worker import Task


def task(name: str, *arguments: object) -> Task:
    return Task(f"tests.support.tasks:{name}", arguments)


def ignore(progress: Progress) -> None:
    pass


async def test_it_does_one_task_and_nothing_is_left_of_it() -> None:
    process = TaskProcess()
    assert (await process.run(task("double", 21), ignore)).result == 42
    await process.end()
    assert process.pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    assert process._ours.closed
    assert process._theirs.closed


@pytest.mark.parametrize("noticed", [True, False])
async def test_one_that_died_before_its_task_says_so_and_how(*, noticed: bool) -> None:
    process = TaskProcess()
    await process.ready.wait()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    if noticed:
        await asyncio.wait([process.ended])
    with pytest.raises(NotBegun, match="was ended by SIGTERM"):
        await process.run(task("double", 1), ignore)
    await process.end()


async def test_one_that_cannot_be_started_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    process = TaskProcess()
    await process.end()
    monkeypatch.setattr("multiprocessing.resource_tracker.ensure_running", refuse)
    process = TaskProcess()
    with pytest.raises(NotBegun, match=r"could not be started .*Resource temporarily"):
        await process.run(task("double", 1), ignore)
    await process.end()


async def test_ending_it_while_it_starts_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go = threading.Event(), threading.Event()

    def held() -> None:
        reached.set()
        assert go.wait(30)

    monkeypatch.setattr("multiprocessing.resource_tracker.ensure_running", held)
    process = TaskProcess()
    assert await asyncio.to_thread(reached.wait, 30)
    ending = asyncio.create_task(process.end())
    await asyncio.sleep(0)
    assert not ending.done()
    go.set()
    await ending
    assert process.ended.result() == -signal.SIGKILL


async def test_a_task_that_cannot_be_sent_is_the_callers_error() -> None:
    process = TaskProcess()
    with pytest.raises(Exception, match="pickle"):
        await process.run(task("double", lambda: 1), ignore)
    await process.end()


async def test_a_result_that_cannot_be_read_is_an_error_and_ends_the_process() -> None:
    process = TaskProcess()
    answer = await process.run(task("unreadable"), ignore)
    assert isinstance(answer.error, ValueError)
    await asyncio.wait([process.ended])
    await process.end()


async def test_a_large_task_reaches_a_process_that_still_starts() -> None:
    """Larger than what fits into a pipe; the event loop goes on meanwhile."""
    process = TaskProcess()
    running = asyncio.create_task(process.run(task("double", 1, *[b"x" * 2**20] * 8), ignore))
    await process.ready.wait()
    answer = await running
    assert "takes 2 positional arguments" in str(answer.error)
    await process.end()
