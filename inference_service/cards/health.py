"""Whether a card can be trusted with requests. Values in, values out: the clock is the caller's."""

from __future__ import annotations

from collections.abc import Sequence

from inference_service.cards.batch_limit import BatchTiming

# Failures in a row before the card itself is suspected.
_SUSPICIOUS = 3
# Seconds from one probe of a card that is out of order to the next: doubled each time.
_FIRST_PROBE = 1.0
_LAST_PROBE = 60.0
# A run may take so many times what the slowest one of warming took for as much input, since other
# work on the machine or the device may slow it down; and never less than these seconds, since
# the first runs after a pause, or with images of a new size, prepare what later ones find ready.
_PATIENCE = 20
_LEAST_ALLOWANCE = 30.0


class CardHealth:
    """Counts failures in a row, paces the probes of a card that is out of order, and times its run.

    A run that fails may be the request's fault; only a card that fails on the blank image which
    it was warmed with is taken out. A run that does not end takes its card out until it does, and
    a probe succeeds.
    """

    def __init__(self) -> None:
        """Begins healthy."""
        self.last_error = ""
        self.probe_at: float | None = None
        self._failures = 0
        self._pause = _FIRST_PROBE
        self._began: float | None = None
        self._allowance = 0.0

    def is_healthy(self, now: float) -> bool:
        """Whether the card takes requests."""
        began = self._began
        return self.probe_at is None and (began is None or now - began <= self._allowance)

    def is_overdue(self, now: float) -> bool:
        """Whether the run of this moment takes longer than it may."""
        began = self._began
        return began is not None and now - began > self._allowance

    @property
    def overdue_at(self) -> float | None:
        """When the run of this moment is overdue; None: nothing runs."""
        began = self._began
        return None if began is None else began + self._allowance

    def retry_after(self, now: float) -> float:
        """Returns the seconds until the card may be in order again."""
        left = 0.0 if self.probe_at is None else self.probe_at - now
        return left if left > 0 else _FIRST_PROBE

    def began(self, now: float, allowance: float) -> None:
        """A run has begun that may take so many seconds."""
        # In this order, for who looks meanwhile.
        self._allowance = allowance
        self._began = now

    def ended(self, now: float) -> None:
        """The run has ended, in whatever way."""
        if self.is_overdue(now):
            self.suspended(now)
        self._began = None

    def suspended(self, now: float) -> None:
        """The run is overdue: the card is out of order, and probed as soon as that has ended."""
        self.last_error = f"a run took longer than the {self._allowance:.0f} s that it may"
        self.probe_at = now

    def succeeded(self) -> None:
        """The engine has run."""
        self._failures = 0

    def failed(self, error: str) -> bool:
        """The engine has failed; returns whether to probe the card now."""
        self.last_error = error
        self._failures += 1
        return self._failures >= _SUSPICIOUS

    def probed(self, now: float, error: str | None) -> None:
        """Takes a probe's result; `error` is None when it succeeded."""
        self._failures = 0
        if error is None:
            self.probe_at, self._pause = None, _FIRST_PROBE
            return
        self.last_error = error
        self.probe_at = now + self._pause
        self._pause = min(2 * self._pause, _LAST_PROBE)


def seconds_an_image(timings: Sequence[BatchTiming]) -> float:
    """Returns what an image took in the slowest batches of warming."""
    return max((one.seconds / one.batch_size for one in timings), default=0.0)


def run_allowance(image_seconds: float, images: float) -> float:
    """Returns the seconds that a run may take before its card is taken for out of order.

    Args:
        image_seconds: see `seconds_an_image`.
        images: of the run, as many as its input is in images of warming's size.
    """
    return max(_LEAST_ALLOWANCE, _PATIENCE * image_seconds * images)
