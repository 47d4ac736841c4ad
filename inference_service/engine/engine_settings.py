"""What every kind of engine is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inference_service.engine.devices import DeviceRequest


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of engines.

    Attributes:
        request: devices to use.
        cores: that the process may use.
        threads: inside an op; None: the cores divided among the cards.
        gpu_memory_bytes: to take at most on each GPU; None: as needed.
        allowed_ops: that graphs may have besides those that only compute.
        cache: folder of what was compiled before; None: it is compiled each time.
    """

    request: DeviceRequest
    cores: int
    threads: int | None = None
    gpu_memory_bytes: int | None = None
    allowed_ops: frozenset[str] = frozenset()
    cache: Path | None = None
