"""What hot loading has done: looks at the store, loads and swaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from service_kit import errors
from service_kit.telemetry.histogram import LONG_SECONDS, SECONDS, Histogram

# The result of a load that went well; others are the error's reason.
LOADED = "OK"


class HotLoadCounts:
    """Counts since the server's start. Belongs to the event loop."""

    def __init__(self) -> None:
        """Begins with nothing."""
        self.look_seconds = Histogram(SECONDS)
        self.looks = 0
        self.failed_looks = 0
        # By (model, result).
        self.loads: Counter[tuple[str, str]] = Counter()
        # By model: of loads that went well, and from a version's turn to its first request.
        self.load_seconds: dict[str, Histogram] = {}
        self.swap_seconds: dict[str, Histogram] = {}

    def looked(self, seconds: float, *, reached: bool) -> None:
        """Counts a look at the store."""
        self.looks += 1
        self.failed_looks += not reached
        self.look_seconds.add(seconds)

    def loaded(self, model: str, load_seconds: float, swap_seconds: float) -> None:
        """Counts a version that is served now.

        Args:
            model: its name.
            load_seconds: to read, verify, import and warm it.
            swap_seconds: since the server wanted it: loading, and waiting for its turn.
        """
        self.loads[model, LOADED] += 1
        self.load_seconds.setdefault(model, Histogram(LONG_SECONDS)).add(load_seconds)
        self.swap_seconds.setdefault(model, Histogram(LONG_SECONDS)).add(swap_seconds)

    def failed(self, model: str, error: errors.PbserveError) -> None:
        """Counts a load that failed."""
        self.loads[model, error.reason] += 1

    def keep(self, models: Collection[str]) -> None:
        """Forgets the loads of all other models."""
        for model, result in [one for one in self.loads if one[0] not in models]:
            del self.loads[model, result]
        for seconds in (self.load_seconds, self.swap_seconds):
            for model in seconds.keys() - set(models):
                del seconds[model]
