from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from exporter_service.specs.progress import Progress, Step
from exporter_service.workers.limits import TaskLimits
from exporter_service.workers.pool import ConversionProcesses, Task
from exporter_service.workers.spares import SpareProcesses
from service_kit import errors
from tests.support import tasks


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
    assert not {"exporter_service.service.servicer", "exporter_service.workers.pool"} & set(loaded)


async def test_what_waits_is_bounded_and_served_in_its_order(tmp_path: Path) -> None:
    pool = ConversionProcesses(1, queue_limit=2)
    building, order = asyncio.Event(), list[int]()
    first = asyncio.create_task(
        pool.run(
            task("wait_for_ever", tmp_path / "pid"),
            lambda p: building.set() if p.step is Step.BUILD else None,
        )
    )
    await building.wait()

    async def later(number: int) -> None:
        await pool.run(task("double", number), ignore)
        order.append(number)

    waiting = [asyncio.create_task(later(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(errors.QueueFull, match="2 requests of this kind wait") as caught:
        await pool.run(task("double", 3), ignore)
    assert caught.value.retry_after
    first.cancel()
    await asyncio.gather(*waiting)
    assert order == [1, 2]
    await pool.close()


async def test_a_task_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    pool = ConversionProcesses(1, task_limits=TaskLimits(seconds=0.25))
    with pytest.raises(errors.ConversionTimedOut, match=r"0\.25 s .*--conversion-timeout"):
        await pool.run(task("wait_for_ever", tmp_path / "pid"), ignore)
    await pool.close()


async def test_a_task_that_takes_too_much_memory_is_ended() -> None:
    pool = ConversionProcesses(1, task_limits=TaskLimits(memory_bytes=200 * 2**20))
    with pytest.raises(errors.ConversionTooLarge, match=r"\d+ MiB .* 200 MiB.*--worker-memory"):
        await pool.run(task("swell"), ignore)
    assert await pool.run(task("double", 1), ignore) == 2
    await pool.close()


async def test_the_end_of_a_task_is_logged_with_its_peak(processes: ConversionProcesses) -> None:
    size = 300 * 2**20
    with capture_logs() as logs:
        assert await processes.run(task("fill", size), ignore) == size
        with pytest.raises(errors.CheckpointMismatch):
            await processes.run(task("refuse"), ignore)
    done, refused = [one for one in logs if one["event"] == "conversion_process_ended"]
    assert (done["outcome"], refused["outcome"]) == ("done", "CheckpointMismatch")
    assert done["peak_bytes"] > size > refused["peak_bytes"] > 0
    assert done["seconds"] > 0


async def test_a_warm_spare_does_the_task_and_the_next_task_has_another() -> None:
    spares = SpareProcesses(1, ("colorsys",))
    pool = ConversionProcesses(1, spares)
    await spares.start()
    for _ in range(3):
        (spare,) = spares._idle
        await spare.ready.wait()
        assert await pool.run(task("pid"), ignore) == spare.pid
        assert spare.ended.done()
    assert "colorsys" in await pool.run(task("modules"), ignore)
    await pool.close()
    await spares.close()


async def test_tasks_of_two_kinds_share_spares_and_do_not_wait_for_each_other(
    tmp_path: Path,
) -> None:
    spares = SpareProcesses(1)
    conversions, inspections = ConversionProcesses(1, spares), ConversionProcesses(1, spares)
    await spares.start()
    building = asyncio.Event()
    conversion = asyncio.create_task(
        conversions.run(
            task("wait_for_ever", tmp_path / "pid"),
            lambda p: building.set() if p.step is Step.BUILD else None,
        )
    )
    await building.wait()
    assert await inspections.run(task("double", 1), ignore) == 2
    await inspections.close()
    assert not conversion.done()
    await conversions.close()
    assert conversion.cancelled()
    await spares.close()


async def test_a_spare_that_dies_while_it_is_handed_the_task_does_not_fail_it() -> None:
    spares = SpareProcesses(1)
    pool = ConversionProcesses(1, spares)
    await spares.start()
    (spare,) = spares._idle
    await spare.ready.wait()
    assert spare.pid is not None
    # It cannot take note of its task before it dies.
    os.kill(spare.pid, signal.SIGSTOP)
    running = asyncio.create_task(pool.run(task("pid"), ignore))
    while spare in spares._idle:
        await asyncio.sleep(0)
    os.kill(spare.pid, signal.SIGKILL)
    assert await running != spare.pid
    await pool.close()
    await spares.close()


async def test_processes_that_keep_dying_before_their_task_are_a_clear_error(
    processes: ConversionProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("exporter_service.workers.process.work", tasks.die_before_any_task)
        with pytest.raises(errors.ConversionCrashed, match=r"3 processes .* exited with code 9"):
            await processes.run(task("double", 1), ignore)
    assert await processes.run(task("double", 1), ignore) == 2


async def test_closing_ends_what_waits_and_refuses_what_comes(tmp_path: Path) -> None:
    pool = ConversionProcesses(1)
    running, waiting = (
        asyncio.create_task(pool.run(task("wait_for_ever", tmp_path / "pid"), ignore))
        for _ in range(2)
    )
    await asyncio.sleep(0)
    await pool.close()
    assert running.cancelled()
    assert waiting.cancelled()
    assert not (tmp_path / "pid").exists()
    with pytest.raises(errors.ServerStopping):
        await pool.run(task("double", 1), ignore)


async def test_closing_kills_what_still_runs(tmp_path: Path) -> None:
    pool = ConversionProcesses(1)
    running = asyncio.create_task(pool.run(task("wait_for_ever", tmp_path / "pid"), ignore))
    while not (tmp_path / "pid").exists():
        await asyncio.sleep(0.01)
    await pool.close()
    assert running.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
