from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from inference_service.loading.background_work import BackgroundWork, TimeIsUp


async def test_results_and_errors_come_back() -> None:
    work = BackgroundWork[int]("test")
    assert await work.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await work.run(lambda: 1 // 0)


async def test_one_piece_runs_after_the_other() -> None:
    work, running, most = BackgroundWork[None]("test"), 0, 0
    lock = threading.Lock()

    def count() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.01)
        with lock:
            running -= 1

    await asyncio.gather(*(work.run(count) for _ in range(5)))
    assert most == 1


async def test_what_takes_too_long_is_left_alone_and_its_result_discarded() -> None:
    discarded: list[int] = []
    release, freed = threading.Event(), threading.Event()

    def slow() -> int:
        assert release.wait(30)
        return 7

    def discard(result: int) -> None:
        discarded.append(result)
        freed.set()

    work = BackgroundWork("test", seconds=0.05, discard=discard)
    with pytest.raises(TimeIsUp):
        await work.run(slow)
    # The next one does not wait for it.
    assert await work.run(lambda: 8) == 8
    release.set()
    assert await asyncio.to_thread(freed.wait, 30)
    assert discarded == [7]


async def test_nobody_is_told_who_has_gone() -> None:
    work, begun, release = BackgroundWork[int]("test"), threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert release.wait(30)
        return 7

    waiting = asyncio.create_task(work.run(slow))
    assert await asyncio.to_thread(begun.wait, 30)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    assert await work.run(lambda: 8) == 8


async def test_behind_what_takes_long_others_wait_only_so_long() -> None:
    work, release = BackgroundWork[int]("test", patience=0.05), threading.Event()
    slow = asyncio.create_task(work.run(lambda: 7 if release.wait(30) else 0))
    assert await work.run(lambda: 8) == 8
    assert not slow.done()
    assert work.unfinished == 1
    release.set()
    assert await slow == 7


async def test_what_has_to_be_alone_waits_for_all_others_and_they_for_it() -> None:
    work = BackgroundWork[str]("test", patience=0.01)
    releases = [threading.Event(), threading.Event()]
    order: list[str] = []

    def named(name: str, until: threading.Event | None = None) -> str:
        order.append(name)
        assert until is None or until.wait(30)
        order.append(f"{name} ends")
        return name

    first = asyncio.create_task(work.run(lambda: named("first", releases[0])))
    alone = asyncio.create_task(work.run(lambda: named("alone", releases[1]), alone=True))
    last = asyncio.create_task(work.run(lambda: named("last")))
    for task, release in ((first, releases[0]), (alone, releases[1])):
        done, _ = await asyncio.wait([alone, last], timeout=0.1)
        assert not done
        release.set()
        await task
    await last
    assert order == ["first", "first ends", "alone", "alone ends", "last", "last ends"]


async def test_what_runs_can_be_given_up() -> None:
    work, begun, release = BackgroundWork[int]("test"), threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert release.wait(30)
        return 7

    running = asyncio.create_task(work.run(slow))
    assert await asyncio.to_thread(begun.wait, 30)
    work.give_up()
    with pytest.raises(TimeIsUp):
        await running
    assert work.unfinished == 1
    release.set()
    while work.unfinished:
        await asyncio.sleep(0.001)


def test_work_that_hangs_does_not_keep_the_process() -> None:
    code = (
        "import asyncio, threading\n"
        "from inference_service.loading.background_work import BackgroundWork\n"
        "async def main():\n"
        "    try:\n"
        "        await BackgroundWork('t', seconds=0.05).run(threading.Event().wait)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "TimeIsUp")


async def test_work_that_raises_what_no_future_takes_is_answered() -> None:
    work = BackgroundWork[int]("test")
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(work.run(lambda: next(iter(()))), 30)
    assert await work.run(lambda: 7) == 7
