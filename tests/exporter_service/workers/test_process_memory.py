from __future__ import annotations

import os
import subprocess

from exporter_service.workers.process_memory import process_memory


def test_the_memory_of_this_process_is_its_own() -> None:
    memory = process_memory()
    assert memory is not None
    assert memory.peak_bytes >= memory.resident_bytes > 2**20
    by_number = process_memory(os.getpid())
    assert by_number is not None
    assert by_number.peak_bytes >= memory.peak_bytes


def test_a_process_that_is_gone_has_none() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    # It has ended, and its number is still taken.
    assert process_memory(process.pid) is None
    process.wait()
    assert process_memory(process.pid) is None
