"""How much memory a process has, as Linux tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Bytes in main memory: now, and at the most since the process began."""

    resident_bytes: int
    peak_bytes: int


def process_memory(pid: int | Literal["self"] = "self") -> ProcessMemory | None:
    """Returns the memory of a process, or None if it is gone.

    The numbers are `VmRSS` and `VmHWM` of `/proc/<pid>/status`. The peak of `getrusage` would
    include that of the process that started this one.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = {}
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name in {"VmRSS", "VmHWM"}:
            found[name] = int(value.split()[0]) * 1024
    # A process that has ended and was not waited for has a status without these lines.
    return ProcessMemory(found["VmRSS"], found["VmHWM"]) if len(found) == 2 else None
