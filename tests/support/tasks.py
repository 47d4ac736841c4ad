"""Tasks for a conversion's process, which imports them by name. No TensorFlow."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from exporter_service.specs.progress import Progress, Report, Step
from service_kit import errors


def double(number: int, report: Report) -> int:
    report(Progress(Step.READ, f"number {number}"))
    report(Progress(Step.CHECK))
    return 2 * number


def refuse(report: Report) -> None:
    raise errors.CheckpointMismatch("missing 3 keys")


def stumble(report: Report) -> None:
    raise KeyError("secret")


def die(number: int, report: Report) -> None:
    report(Progress(Step.BUILD))
    os.kill(os.getpid(), number)
    threading.Event().wait()


def leave(code: int, report: Report) -> None:
    os._exit(code)


def wait_for_ever(pid_file: Path, report: Report) -> None:
    pid_file.write_text(str(os.getpid()))
    report(Progress(Step.BUILD))
    threading.Event().wait()


def modules(report: Report) -> list[str]:
    return sorted(sys.modules)


def pid(report: Report) -> int:
    return os.getpid()


def fill(size_bytes: int, report: Report) -> int:
    """Takes memory and gives it back; the peak stays."""
    content = bytearray(size_bytes)
    content[::4096] = b"x" * len(content[::4096])
    return len(content)


def swell(report: Report) -> None:
    """Takes memory until somebody ends it."""
    content = bytearray()
    while True:
        content.extend(b"x" * 2**20)
        threading.Event().wait(0.001)


def unreadable(report: Report) -> Unreadable:
    return Unreadable()


def die_before_any_task(connection: object, modules: tuple[str, ...]) -> None:
    """Takes the place of `task_worker.work`."""
    os._exit(9)


class Unreadable:
    """Can be pickled and not read again."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, ("not a number",))


def tear(report: Report) -> None:
    """Dies in the middle of a message: the length is there, most of the bytes are not."""
    connection = report.__self__  # type: ignore[attr-defined]
    os.write(connection.fileno(), (1000).to_bytes(4, "big") + b"begin")
    os.kill(os.getpid(), signal.SIGKILL)
