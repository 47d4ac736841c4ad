"""When the store is looked at again. Values in, values out."""

from __future__ import annotations

from collections.abc import Callable

# Failures after which a look is tried this seldom, in seconds.
_LONGEST_PAUSE = 60.0
# Many servers that were started together, or lost one store together, must not go on in step.
_SPREAD_REGULAR, _SPREAD_FAILED = 0.1, 0.5


class StorePace:
    """Paces looks: regular ones, and after failures later and later. Times are seconds."""

    def __init__(self, random: Callable[[], float]) -> None:
        """Spreads pauses by `random`, which gives numbers from 0 to 1."""
        self._random = random
        self._failures = 0
        self._not_before = 0.0

    def pause(self, seconds: float) -> float:
        """Returns how long to wait between two rounds: `seconds`, give or take a tenth."""
        return seconds * self._spread(_SPREAD_REGULAR)

    def is_due(self, now: float) -> bool:
        """Whether the store may be looked at now."""
        return now >= self._not_before

    def looked(self, *, ok: bool, seconds: float, now: float) -> None:
        """Takes how a look ended that is wanted every so many seconds.

        After the n-th failure in a row the next look is 2^n x `seconds` away, at most 60 s or
        `seconds` itself where that is more, give or take a half.
        """
        if ok:
            self._failures, self._not_before = 0, 0.0
            return
        # 2 ** 16 is beyond every pause; without a bound it grows past what a float holds.
        self._failures = min(self._failures + 1, 16)
        longest = max(_LONGEST_PAUSE, seconds)
        pause = min(seconds * 2.0**self._failures, longest)
        self._not_before = now + pause * self._spread(_SPREAD_FAILED)

    def _spread(self, part: float) -> float:
        return 1 - part + 2 * part * self._random()
