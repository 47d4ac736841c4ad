"""Whether an artifact may be loaded that the process has died of. Values in, values out."""

from __future__ import annotations

from dataclasses import dataclass

# Deaths after which an artifact is not loaded by itself any more; more of them where others were
# being loaded at the same time, which may have been the cause.
_DEATHS, _DEATHS_IN_COMPANY = 2, 4
# A process that was killed from outside may have been killed for another reason than its load: for
# memory, or by somebody. It is tried again after so many seconds, then later and later.
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 900.0, 86400.0, 4.0

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Suspect:
    """What is known of a graph during whose loads processes died.

    Attributes:
        model: name of the model, of the last such load.
        version: of the model.
        deaths: of processes while it was being loaded, one after the other without a success.
        faults: those of them in which the process itself did something fatal.
        alone: whether nothing else was being loaded at the last one.
        last: when that was noticed, seconds since 1970.
    """

    model: str
    version: int
    deaths: int = 0
    faults: int = 0
    alone: bool = False
    last: float = 0.0

    @property
    def is_quarantined(self) -> bool:
        """Whether it has to wait, at least."""
        return self.deaths >= (_DEATHS if self.alone else _DEATHS_IN_COMPANY)

    def seconds_left(self, now: float) -> float:
        """Returns after how many seconds it may be loaded; 0: now; `NEVER`: when it is asked for.

        Args:
            now: seconds since 1970.
        """
        if not self.is_quarantined:
            return 0.0
        if self.faults >= _DEATHS:
            return NEVER
        # 2 ** 16 is beyond it; without a bound it grows past what a float holds.
        growth = _GROWTH ** min(self.deaths - _DEATHS, 8)
        pause = min(_FIRST_PAUSE * growth, _LONGEST_PAUSE)
        # A clock that jumps must not make it longer.
        return min(max(self.last + pause - now, 0.0), pause)
