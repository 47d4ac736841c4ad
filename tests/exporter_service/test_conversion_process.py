from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from exporter_service.conversion_process import ConversionProcesses, Task
from exporter_service.progress import Progress, Step
from service_kit import errors


def task(name: str, *arguments: object) -> Task:
    return Task(f"tests.support.tasks:{name}", arguments)


@pytest_asyncio.fixture
async def processes() -> AsyncIterator[ConversionProcesses]:
    pool = ConversionProcesses(1)
    yield pool
    await pool.close()


def ignore(progress: Progress) -> None:
    pass


async def test_returns_the_result_and_reports_progress_in_order(
    processes: ConversionProcesses,
) -> None:
    seen: list[Progress] = []
    assert await processes.run(task("double", 21), seen.append) == 42
    assert [p.step for p in seen] == [Step.START, Step.READ, Step.CHECK]
    assert seen[1].message == "number 21"


async def test_an_error_arrives_as_what_it_was(processes: ConversionProcesses) -> None:
    with pytest.raises(errors.CheckpointMismatch, match="missing 3 keys"):
        await processes.run(task("refuse"), ignore)


async def test_a_defect_arrives_with_its_trace(processes: ConversionProcesses) -> None:
    with pytest.raises(Exception, match=r"(?s)in stumble\n.*KeyError: 'secret'") as caught:
        await processes.run(task("stumble"), ignore)
    assert not isinstance(caught.value, errors.PbserveError)


@pytest.mark.parametrize(
    ("dying", "words"),
    [
        (task("die", signal.SIGKILL), "SIGKILL; perhaps the system ran out of memory"),
        (task("die", signal.SIGSEGV), "ended by SIGSEGV before"),
        (task("leave", 3), "exited with code 3 before"),
        (task("leave", 0), "exited with code 0 before"),
        (task("tear"), "SIGKILL"),
    ],
)
async def test_a_process_that_dies_is_a_clear_error_and_the_next_one_works(
    processes: ConversionProcesses, dying: Task, words: str
) -> None:
    with pytest.raises(errors.ConversionCrashed, match=words):
        await processes.run(dying, ignore)
    assert await processes.run(task("double", 1), ignore) == 2


async def test_cancelling_kills_the_process(processes: ConversionProcesses, tmp_path: Path) -> None:
    building = asyncio.Event()

    def report(progress: Progress) -> None:
        if progress.step is Step.BUILD:
            building.set()

    running = asyncio.create_task(processes.run(task("wait_for_ever", tmp_path / "pid"), report))
    await building.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert await processes.run(task("double", 1), ignore) == 2


async def test_tasks_beyond_the_limit_wait_and_say_so(
    processes: ConversionProcesses, tmp_path: Path
) -> None:
    building, seen = asyncio.Event(), list[Step]()
    first = asyncio.create_task(
        processes.run(
            task("wait_for_ever", tmp_path / "pid"),
            lambda p: building.set() if p.step is Step.BUILD else None,
        )
    )
    await building.wait()
    second = asyncio.create_task(
        processes.run(task("double", 4), lambda progress: seen.append(progress.step))
    )
    await asyncio.sleep(0)
    assert seen == [Step.QUEUED]
    first.cancel()
    assert await second == 8
    assert seen == [Step.QUEUED, Step.START, Step.READ, Step.CHECK]


async def test_the_process_does_not_inherit_what_the_server_has_loaded(
    processes: ConversionProcesses,
) -> None:
    loaded = await processes.run(task("modules"), ignore)
    assert "tensorflow" not in loaded
    assert "exporter_service.servicer" not in loaded


async def test_closing_kills_what_still_runs(tmp_path: Path) -> None:
    pool = ConversionProcesses(1)
    running = asyncio.create_task(pool.run(task("wait_for_ever", tmp_path / "pid"), ignore))
    while not (tmp_path / "pid").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await pool.close()
    assert running.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
