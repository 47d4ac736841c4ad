"""How large batches should be, from how long they took. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Gains below this share are within the scatter of such a measurement.
_WORTHWHILE = 1.05


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """Images in a batch, and the seconds that it took."""

    batch_size: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput of such batches, one after the other."""
        return self.batch_size / self.seconds if self.seconds > 0 else float("inf")


def batch_limit(timings: Sequence[BatchTiming]) -> int:
    """Returns the batch size above which images per second do not grow.

    Args:
        timings: in order of their sizes, at least one.
    """
    best = timings[0]
    for timing in timings[1:]:
        if timing.images_per_second < best.images_per_second * _WORTHWHILE:
            break
        best = timing
    return best.batch_size


def still_grows(timings: Sequence[BatchTiming]) -> bool:
    """Whether the last size was worth it, so that a larger one may be, too."""
    return not timings or batch_limit(timings) == timings[-1].batch_size
