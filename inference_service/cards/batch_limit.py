"""How large batches should be, from how long they took. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

# Gains below this share are within the scatter of such a measurement.
_WORTHWHILE = 1.05
# Sizes in a row that may be worth nothing. A machine that answers requests meanwhile spoils a
# measurement now and then; one must not keep batches small until the next load.
_PATIENCE = 2


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """Images in a batch, the seconds that it took, and the bytes while it ran; 0: not known."""

    batch_size: int
    seconds: float
    peak_bytes: int = field(default=0, compare=False)

    @property
    def images_per_second(self) -> float:
        """Throughput of such batches, one after the other."""
        return self.batch_size / self.seconds if self.seconds > 0 else float("inf")


def batch_limit(timings: Sequence[BatchTiming]) -> int:
    """Returns the batch size above which images per second do not grow.

    Args:
        timings: in order of their sizes, at least one.
    """
    return timings[_best(timings)].batch_size


def still_grows(timings: Sequence[BatchTiming]) -> bool:
    """Whether a larger size may be worth it: one of the last two was, or there are not as many."""
    return not timings or len(timings) - 1 - _best(timings) < _PATIENCE


def _best(timings: Sequence[BatchTiming]) -> int:
    best = 0
    for position, timing in enumerate(timings):
        if position - best > _PATIENCE:
            break
        if timing.images_per_second >= timings[best].images_per_second * _WORTHWHILE:
            best = position
    return best
