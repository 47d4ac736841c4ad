"""What the exporter service can be told, once, when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service_kit.server.serving_settings import Serving


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """Settings of one exporter process."""

    serving: Serving
    store: str
    checkpoint_roots: tuple[Path, ...]
    # Whether to start on a folder only that has the mark of a store.
    require_store_mark: bool = False
    # Conversions that run at the same time; each is a process with TensorFlow.
    workers: int = 1
    # Processes that wait for a task with TensorFlow imported; they serve inspections too.
    spare_workers: int = 1
    # Conversions, and as many inspections, that may wait for a process.
    queue_limit: int = 64
    # What one task may take; None: as much as it wants.
    conversion_timeout_seconds: float | None = 600.0
    worker_memory_bytes: int | None = None
    # Conversions that one caller may have at a time; None: any number.
    caller_conversions: int | None = None
    # Bytes of one checkpoint's files; None: any number.
    max_checkpoint_bytes: int | None = None
