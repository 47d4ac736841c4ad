"""Whether a card can be trusted with requests. Values in, values out: the clock is the caller's."""

from __future__ import annotations

# Failures in a row before the card itself is suspected.
_SUSPICIOUS = 3
# Seconds from one probe of a card that is out of order to the next: doubled each time.
_FIRST_PROBE = 1.0
_LAST_PROBE = 60.0


class CardHealth:
    """Counts failures in a row, and paces the probes of a card that is out of order.

    A run that fails may be the request's fault; only a card that fails on the blank image which
    it was warmed with is taken out.
    """

    def __init__(self) -> None:
        """Begins healthy."""
        self.last_error = ""
        self.probe_at: float | None = None
        self._failures = 0
        self._pause = _FIRST_PROBE

    @property
    def healthy(self) -> bool:
        """Whether the card takes requests."""
        return self.probe_at is None

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
