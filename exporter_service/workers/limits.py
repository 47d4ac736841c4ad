"""What a task may take, and an eye on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from exporter_service.workers.process import NotBegun, TaskProcess
from exporter_service.workers.process_memory import process_memory
from service_kit import errors

# Reading a process's memory takes some 30 microseconds.
_PERIOD_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """What one task may take at the most; None: as much as it wants.

    `seconds` include the start of its process, `memory_bytes` TensorFlow itself.
    """

    seconds: float | None = None
    memory_bytes: int | None = None


class TaskWatch:
    """Kills the process of a task that takes more than it may."""

    def __init__(self, limits: TaskLimits, began: float | None = None) -> None:
        """Counts the seconds from now, or from `began` on the loop's clock."""
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time() if began is None else began
        self._verdict: errors.PbserveError | None = None
        self._peak_bytes = 0

    @property
    def seconds(self) -> float:
        """How long the task has taken so far."""
        return self._loop.time() - self._began

    @property
    def peak_bytes(self) -> int:
        """The most memory that the task's process was seen to have had."""
        return self._peak_bytes

    def see_peak(self, peak_bytes: int) -> None:
        """Takes note of what somebody else has seen."""
        self._peak_bytes = max(self._peak_bytes, peak_bytes)

    @contextlib.contextmanager
    def over(self, process: TaskProcess) -> Iterator[None]:
        """Watches the task's process inside the block.

        Raises:
            ConversionTimedOut: it was killed because the task took too long.
            ConversionTooLarge: it was killed because it had too much memory.
        """
        looking = asyncio.ensure_future(self._look(process))
        try:
            yield
        except (NotBegun, errors.ConversionCrashed):
            if self._verdict is not None:
                raise self._verdict from None
            raise
        finally:
            looking.cancel()

    async def _look(self, process: TaskProcess) -> None:
        while self._verdict is None:
            memory = None if process.pid is None else process_memory(process.pid)
            if memory is not None:
                self.see_peak(memory.peak_bytes)
            self._verdict = self._judge(memory.resident_bytes if memory else 0)
            if self._verdict is None:
                await asyncio.sleep(_PERIOD_SECONDS)
        process.kill()

    def _judge(self, resident_bytes: int) -> errors.PbserveError | None:
        seconds, memory_bytes = self._limits.seconds, self._limits.memory_bytes
        if memory_bytes is not None and resident_bytes > memory_bytes:
            return errors.ConversionTooLarge(
                f"the conversion's process had {_mebibytes(resident_bytes)} of memory and may "
                f"have {_mebibytes(memory_bytes)}: it was ended and nothing was published; ask "
                "for fewer cards, or start the exporter with a higher --worker-memory"
            )
        if seconds is not None and self.seconds >= seconds:
            return errors.ConversionTimedOut(
                f"the conversion was not done after the {seconds:g} s that it may take: its "
                "process was ended and nothing was published; start the exporter with a higher "
                "--conversion-timeout"
            )
        return None


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"
