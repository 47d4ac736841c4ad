"""Whether the machine may have GPUs, told without an engine."""

from __future__ import annotations

from pathlib import Path

# Of NVIDIA's driver, of the same under Windows' Linux, and of AMD's.
_DEVICES = ("nvidia[0-9]*", "dxg", "kfd")


def may_have_gpus(dev: Path = Path("/dev")) -> bool:
    """Returns whether a driver shows a device; then TensorFlow, which takes seconds, is asked."""
    return any(next(dev.glob(pattern), None) is not None for pattern in _DEVICES)
