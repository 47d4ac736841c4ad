from __future__ import annotations

import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait(number: signal.Signals) -> None:
    """In a process of its own: where the signal is not heard, it ends whoever runs the test."""
    code = (
        "import asyncio, os\n"
        "from service_kit.server.process_end import stop_signal\n"
        "async def main():\n"
        "    told = stop_signal()\n"
        f"    os.kill(os.getpid(), {number.value})\n"
        "    await asyncio.wait_for(told.wait(), timeout=30)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_second_signal_ends_the_program_at_once() -> None:
    code = (
        "import asyncio, os, signal\n"
        "from service_kit.server.process_end import stop_signal\n"
        "async def main():\n"
        "    told = stop_signal()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    await told.wait()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 128 + signal.SIGINT
    assert "Traceback" not in done.stderr


def test_a_process_whose_threads_hang_is_ended() -> None:
    code = (
        "import threading\n"
        "from service_kit.server.process_end import end_at_last\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "end_at_last(0.2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "end_forced" in done.stdout + done.stderr


@pytest.mark.parametrize("end", ["return None", "raise ValueError('lost')"])
def test_a_process_whose_port_is_lost_ends(end: str) -> None:
    code = (
        "import asyncio\n"
        "from service_kit.server.process_end import end_when_lost\n"
        "class Server:\n"
        "    async def wait_for_termination(self):\n"
        f"        {end}\n"
        "async def main():\n"
        "    watching = asyncio.create_task(end_when_lost(Server(), lambda: False))\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "port_lost" in done.stdout + done.stderr
