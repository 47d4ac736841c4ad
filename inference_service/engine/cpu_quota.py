"""How many cores this process may keep busy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(root: Path = _CGROUPS) -> int:
    """Returns the smaller of the CPU affinity and the container's quota, at least 1.

    A quota of one and a half cores counts as two. Quotas are read from `cpu.max` (cgroup v2) and
    `cpu/cpu.cfs_quota_us` (v1) under `root`, where a container finds those of its own group; a
    file that is absent or malformed is no quota.
    """
    return min([_affinity(), *_quotas(root)])


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    # Not every system lets a process be bound to some of the cores.
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[int]:
    """Yields the quotas in cores, rounded up; both versions can be mounted at once."""
    v2 = _words(root / "cpu.max")
    v1 = [*_words(root / "cpu/cpu.cfs_quota_us"), *_words(root / "cpu/cpu.cfs_period_us")]
    for words in (v2, v1):
        # `max` (v2) and -1 (v1) stand for no quota; both fail one of the two conditions.
        if len(words) == 2 and all(word.isascii() and word.isdigit() for word in words):
            microseconds, period = map(int, words)
            if microseconds > 0 and period > 0:
                yield -(-microseconds // period)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
