"""What the exporter service can be told, once, when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service_kit.address import Address
from service_kit.logs import LogFormat


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """Settings of one exporter process."""

    listen: Address
    store: str
    checkpoint_roots: tuple[Path, ...]
    # Conversions that run at the same time; each is a process with TensorFlow.
    workers: int = 1
    # Processes that wait for a task with TensorFlow imported; they serve inspections too.
    spare_workers: int = 1
    # Conversions, and as many inspections, that may wait for a process.
    queue_limit: int = 64
    # What one task may take; None: as much as it wants.
    conversion_timeout_seconds: float | None = 600.0
    worker_memory_bytes: int | None = None
    lame_duck_seconds: float = 0.0
    grace_seconds: float = 10.0
    log_format: LogFormat = "console"
    # A request names files, it does not carry them; manifests of many cards stay far below.
    max_message_bytes: int = 16 * 2**20
