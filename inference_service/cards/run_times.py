"""How long a card's batches take at present. Values in, values out: the clock is the caller's."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from inference_service.cards.batch_limit import BatchTiming

# Runs that an estimate stands on, and the share of them that take no longer than it says. The few
# that a stall has spoiled change nothing. A larger share lets a busy machine's stalls keep out what
# has a deadline of 3 batch times; a smaller one lets more answers come late. Chosen by trials in
# one simulated load; 0.6 did about as well.
_RUNS = 16
_SHARE = 0.75
# A card that has had nothing to do for so many times its last run, or for so many seconds, knows
# nothing: what it knew may be wrong by now, and if that kept requests out, no run would ever put
# it right. So of a card that refuses everything a fifth of the time goes into tries.
_FORGOTTEN_RUNS, _FORGOTTEN_SECONDS = 4.0, 1.0
# The way back that can be measured ends where the answer is given to gRPC. The network, the caller
# and the request's own way here are about as long again, and on a quiet machine these seconds:
# a call that computes nothing takes 1 to 2 ms on loopback (benchmarks/clients.py).
_WAYS, _LEAST_WAY = 2.0, 0.002
# No way back is taken to be longer; else a server that stalled once would refuse what it could do.
_LONGEST_WAY = 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a card knows of its time.

    Attributes:
        seconds: of a batch, by its images (padding included) and the weight of each: its values
            in units of a blank image's, which is what warming ran.
        way_back: seconds from the end of a run until its answers are with their callers.
        running: seconds that the run of this moment should still take; 0: nothing runs.
    """

    seconds: Callable[[int, float], float]
    way_back: float
    running: float


class RunTimes:
    """Follows a card's runs.

    Warming says how the seconds grow with the batch; finished runs say how many they really are,
    with other work on the machine. Whoever uses it holds the card's lock.
    """

    def __init__(self, timings: Sequence[BatchTiming]) -> None:
        """Knows the timings of warming, smallest batch first, and no run yet."""
        self._sizes = [one.batch_size for one in timings]
        self._seconds = [one.seconds for one in timings]
        # By the power of two that the batches' sizes have reached: seconds in units of warming's.
        self._ratios: dict[int, deque[float]] = {}
        # Of those, what an estimate stands on, as far as somebody has asked.
        self._ratio: dict[int, float] = {}
        # The way back of each run's last answer, by when the run had ended.
        self._ways: dict[float, float] = {}
        self._running: tuple[float, int, float] | None = None
        self._ended, self._took = -math.inf, 0.0

    def began(self, now: float, images: int, weight: float) -> None:
        """A batch of so many images, padding included, has begun."""
        if self._is_forgotten(now):
            self._ratios.clear()
            self._ratio.clear()
            self._ways.clear()
        self._running = now, images, weight

    def ended(self, now: float, *, ran: bool) -> None:
        """It has ended; `ran`: with outputs, so that it says how long such a batch takes."""
        running, self._running, self._ended = self._running, None, now
        if not ran or running is None:
            return
        began, images, weight = running
        self._took = now - began
        unit = self._warmed(images) * weight
        if unit <= 0:
            return
        key = images.bit_length()
        if key not in self._ratios:
            # What was expected is one voice among them: a first run that stalls is outvoted.
            self._ratios[key] = deque([self._expected(key)], maxlen=_RUNS)
        self._ratios[key].append(self._took / unit)
        # Looked up when somebody asks.
        self._ratio.pop(key, None)

    def returned(self, ended: float, now: float) -> None:
        """An answer was given to gRPC, of a run that had ended before."""
        # Answers of one run, and of one stall, are one observation.
        self._ways[ended] = min(max(0.0, now - ended), _LONGEST_WAY)
        if len(self._ways) > _RUNS:
            del self._ways[min(self._ways)]

    def estimate(self, now: float) -> Estimate | None:
        """Returns what is known; None: nothing, since there were no runs of late."""
        if not self._ratios:
            return None
        if self._running is None:
            left = 0.0
            if self._is_forgotten(now):
                return None
        else:
            began, images, weight = self._running
            left = max(0.0, began + self._batch_seconds(images, weight) - now)
        way = _most(self._ways.values()) if self._ways else 0.0
        return Estimate(self._batch_seconds, _WAYS * way + _LEAST_WAY, left)

    def _is_forgotten(self, now: float) -> bool:
        return now - self._ended > min(_FORGOTTEN_RUNS * self._took, _FORGOTTEN_SECONDS)

    def _batch_seconds(self, images: int, weight: float) -> float:
        return self._expected(images.bit_length()) * self._warmed(images) * weight

    def _expected(self, key: int) -> float:
        """Returns the ratio of batches of some size, or of those whose size is the nearest."""
        if key not in self._ratios:
            if not self._ratios:
                return 1.0
            key = min(self._ratios, key=lambda known: abs(known - key))
        ratio = self._ratio.get(key)
        if ratio is None:
            ratio = self._ratio[key] = _most(self._ratios[key])
        return ratio

    def _warmed(self, images: int) -> float:
        """Returns the seconds of warming; beyond what it tried, those of its largest batch."""
        sizes, seconds = self._sizes, self._seconds
        if not sizes:
            return 1.0
        at = bisect_left(sizes, images)
        if at == 0 or at == len(sizes):
            return seconds[min(at, len(sizes) - 1)]
        share = (images - sizes[at - 1]) / (sizes[at] - sizes[at - 1])
        return seconds[at - 1] + share * (seconds[at] - seconds[at - 1])


def _most(values: Iterable[float]) -> float:
    """Returns what `_SHARE` of the values, rounded down, do not exceed."""
    ordered = sorted(values)
    return ordered[int(_SHARE * (len(ordered) - 1))]
