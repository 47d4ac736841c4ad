"""How many conversions one caller may have at a time."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from service_kit import errors

_RETRY_AFTER_SECONDS = 5.0


class CallerLimit:
    """Counts by callers, so that none of them fills the line of all. Belongs to the event loop."""

    def __init__(self, limit: int | None) -> None:
        """Lets each caller have `limit` at a time, at least 1; None: any number."""
        self._limit = limit
        self._running: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, caller: str) -> Iterator[None]:
        """Counts one inside the block.

        Raises:
            TooManyConversions: the caller has as many as it may have.
        """
        if self._limit is not None and self._running[caller] >= self._limit:
            raise errors.TooManyConversions(
                f"{caller} has {self._running[caller]} conversions running or waiting, and may "
                f"have {self._limit}: wait for one of them",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        self._running[caller] += 1
        try:
            yield
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]
