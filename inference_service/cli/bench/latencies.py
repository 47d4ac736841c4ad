"""Latencies counted in buckets: any number of them in the same memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_MICROSECONDS = 1_000_000
# From a microsecond to an hour, each bucket within 0.1% of its values: 22,000 of them.
_LOWEST, _HIGHEST = 1.0, 3600.0 * _MICROSECONDS
_WIDTH = 0.001
_BUCKETS = math.ceil(math.log(_HIGHEST) / _WIDTH) + 1
_PERCENTS = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds that so many percent of the answers took at most."""

    p50: float
    p90: float
    p95: float
    p99: float
    max: float
    mean: float


class Latencies:
    """A histogram whose buckets grow with their values; the highest and the mean are exact."""

    def __init__(self) -> None:
        """Begins without any."""
        self._counts = np.zeros(_BUCKETS, np.int64)
        self._sum, self._highest = 0.0, 0.0

    def add(self, seconds: float) -> None:
        """Counts one; what is longer than an hour counts as an hour."""
        microseconds = min(max(seconds * _MICROSECONDS, _LOWEST), _HIGHEST)
        self._counts[int(math.log(microseconds) / _WIDTH)] += 1
        self._sum += microseconds
        self._highest = max(self._highest, microseconds)

    def clear(self) -> None:
        """Forgets all."""
        self._counts[:] = 0
        self._sum, self._highest = 0.0, 0.0

    def percentiles(self) -> Percentiles | None:
        """Returns what was measured; None for nothing."""
        below = np.cumsum(self._counts)
        total = int(below[-1])
        if not total:
            return None
        ranks = [math.ceil(percent / 100 * total) for percent in _PERCENTS]
        values = np.exp(np.searchsorted(below, ranks) * _WIDTH)
        found = [*map(float, values), self._highest, self._sum / total]
        return Percentiles(*(value / 1000 for value in found))
