"""What memory there is, and what a piece of work takes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
# Of what is available when a version is loaded, what one batch on each of its cards may take
# together. The rest is for other models, requests and the next version.
SHARE = 1 / 8
# Resets the peak of resident memory; see proc(5), clear_refs.
_RESET_PEAK = "5"


def available_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Returns what this process may still take: of the machine, and of its container's limit.

    None where the system does not say.
    """
    found = [_kibibytes(proc / "meminfo", "MemAvailable:")]
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, taken = _number(cgroups / most), _number(cgroups / used)
        if limit is not None and taken is not None:
            found.append(max(0, limit - taken))
    return min((one for one in found if one is not None), default=None)


def peak_growth(work: Callable[[], object], process: Path = _PROC / "self") -> int:
    """Returns by how many bytes the process was larger while `work` ran than before.

    What others do at the same time counts, too. 0 where the system does not say.
    """
    before = _kibibytes(process / "status", "VmRSS:")
    try:
        (process / "clear_refs").write_text(_RESET_PEAK)
    except OSError:
        before = None
    work()
    peak = _kibibytes(process / "status", "VmHWM:")
    return 0 if before is None or peak is None else max(0, peak - before)


def max_elements(peak_bytes: int, elements: int, cards: int, available: int | None) -> int:
    """Returns how many elements a batch may have; 0: any number.

    Args:
        peak_bytes: that a batch took; 0: not known.
        elements: of its inputs.
        cards: that run batches at the same time.
        available: bytes; None: not known.
    """
    if not peak_bytes or available is None:
        return 0
    return max(elements, int(available * SHARE / cards * elements / peak_bytes))


def _kibibytes(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _number(path: Path) -> int | None:
    """Returns the number in a file of a control group; `max` is none."""
    try:
        number = int(path.read_text())
    except (OSError, ValueError):
        return None
    # Version 1 says no limit by a number beyond every memory.
    return number if number < 2**60 else None
