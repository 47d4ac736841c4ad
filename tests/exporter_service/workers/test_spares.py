from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exporter_service.workers.process import TaskProcess
from exporter_service.workers.spares import SpareProcesses
from exporter_service.workers.worker import Task
from tests.support import tasks

PID = Task("tests.support.tasks:pid", ())
# A server with one warm spare, whose id it prints; nobody tells either of them to end.
SERVER = """
import asyncio
from exporter_service.workers.spares import SpareProcesses

async def main():
    spares = SpareProcesses(1)
    await spares.start()
    await spares._idle[0].ready.wait()
    print(spares._idle[0].pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def warm(spares: SpareProcesses) -> list[TaskProcess]:
    idle = list(spares._idle)
    for process in idle:
        await process.ready.wait()
    return idle


def number(process: TaskProcess) -> int:
    assert process.pid is not None
    return process.pid


async def test_nothing_is_started_ahead_before_start_or_with_a_count_of_none() -> None:
    for spares in (SpareProcesses(2), SpareProcesses(0)):
        if spares._count == 0:
            await spares.start()
        process = spares.take()
        assert (await process.run(PID, print)).result == process.pid
        assert spares._idle == []
        await process.end()
        await spares.close()


async def test_a_warm_spare_is_taken_before_one_that_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first process to import the module is warm at once, the others have to wait.
    (tmp_path / "held.py").write_text(
        "import os, time\n"
        f"folder = {str(tmp_path)!r}\n"
        "try:\n"
        "    os.mkdir(folder + '/first')\n"
        "except FileExistsError:\n"
        # No pipe: whoever read it first, a spare that comes later too, would take it from the rest.
        "    while not os.path.exists(folder + '/gate'):\n"
        "        time.sleep(0.001)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spares = SpareProcesses(2, ("held",))
    await spares.start()
    waits = [asyncio.ensure_future(process.ready.wait()) for process in spares._idle]
    by_wait = dict(zip(waits, spares._idle, strict=True))
    done, starting = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    assert spares.take() is by_wait[done.pop()]
    # The next one is still starting: its task waits for it.
    taken = spares.take()
    assert taken is by_wait[starting.pop()]
    running = asyncio.create_task(taken.run(PID, print))
    (tmp_path / "gate").touch()
    assert (await running).result == taken.pid
    for process in by_wait.values():
        await process.end()
    await spares.close()


async def test_a_spare_that_is_taken_is_replaced_at_once() -> None:
    spares = SpareProcesses(2)
    await spares.start()
    before = await warm(spares)
    taken = spares.take()
    assert taken is before[0]
    assert len(spares._idle) == 2
    await taken.end()
    await spares.close()


async def test_a_spare_that_dies_is_replaced() -> None:
    spares = SpareProcesses(1)
    await spares.start()
    (lost,) = await warm(spares)
    os.kill(number(lost), signal.SIGKILL)
    await asyncio.wait([lost.ended])
    await asyncio.sleep(0)
    (spare,) = await warm(spares)
    assert spare is not lost
    await spares.close()


async def test_spares_that_cannot_start_are_given_up_until_a_task_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = []

    class Counted(TaskProcess):
        def __init__(self, modules: tuple[str, ...] = ()) -> None:
            super().__init__(modules)
            started.append(self)

    monkeypatch.setattr("exporter_service.workers.spares.TaskProcess", Counted)
    monkeypatch.setattr("exporter_service.workers.process.work", tasks.die_before_any_task)
    spares = SpareProcesses(1)
    await spares.start()
    while spares._idle:
        await asyncio.wait([spares._idle[0].ended])
        await asyncio.sleep(0)
    assert len(started) == 4
    monkeypatch.undo()
    taken = spares.take()
    assert (await taken.run(PID, print)).result == taken.pid
    await warm(spares)
    await taken.end()
    await spares.close()


async def test_no_room_for_a_spare_does_not_hurt_who_takes_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spares = SpareProcesses(1)
    await spares.start()
    (spare,) = await warm(spares)

    def full(modules: tuple[str, ...] = ()) -> TaskProcess:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("exporter_service.workers.spares.TaskProcess", full)
    assert spares.take() is spare
    assert spares._idle == []
    await spare.end()
    await spares.close()


async def test_closing_ends_spares_that_are_warm_and_such_that_start() -> None:
    spares = SpareProcesses(2)
    await spares.start()
    await warm(spares)
    taken = spares.take()
    ending = list(spares._idle)
    await spares.close()
    for process in ending:
        with pytest.raises(ProcessLookupError):
            os.kill(number(process), 0)
    assert not taken.ended.done()
    await taken.end()
    assert spares._idle == []


async def test_a_spare_has_no_socket_of_the_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        ours = Path(f"/proc/self/fd/{listening.fileno()}").readlink()
        spares = SpareProcesses(1)
        await spares.start()
        (spare,) = await warm(spares)
        theirs = [path.readlink() for path in Path(f"/proc/{spare.pid}/fd").iterdir()]
        assert ours not in theirs
        await spares.close()


async def test_ctrl_c_in_the_terminal_leaves_spares_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gated.py").write_text(f"open({str(tmp_path / 'gate')!r}).read()\n")
    os.mkfifo(tmp_path / "gate")
    monkeypatch.syspath_prepend(tmp_path)
    spares = SpareProcesses(1, ("gated",))
    await spares.start()
    (spare,) = spares._idle
    while spare.pid is None:
        await asyncio.sleep(0)
    # From its first moment, while it starts, and when it is warm.
    os.kill(spare.pid, signal.SIGINT)
    with await asyncio.to_thread((tmp_path / "gate").open, "w"):
        os.kill(spare.pid, signal.SIGINT)
    await spare.ready.wait()
    os.kill(spare.pid, signal.SIGINT)
    taken = spares.take()
    assert (await taken.run(PID, print)).result == spare.pid
    await taken.end()
    await spares.close()


def test_a_spare_ends_with_its_server() -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    with server.stdout:
        pid = int(server.stdout.readline())
    descriptor = os.pidfd_open(pid)
    server.kill()
    server.wait()
    # Readable when the process has ended.
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)
