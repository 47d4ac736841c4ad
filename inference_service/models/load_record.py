"""Which publications did not load, and when each is to be tried again."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from inference_service.models.publication import Publication
from service_kit import errors

_NEVER = float("inf")


class _Pace(NamedTuple):
    """Seconds before the first retry, doubled each time up to the last."""

    first: float
    last: float

    def after(self, failures: int) -> float:
        """Seconds to wait when there have been that many failures, at least one."""
        # 2 ** 16 is beyond every pace here; without a bound it grows past what a float holds.
        return min(self.first * 2.0 ** min(failures - 1, 16), self.last)


_RETRY_STORE = _Pace(1, 60)
# A graph that does not load costs seconds of computing each time, but memory may come back.
_RETRY_ENGINE = _Pace(30, 900)


class _Failure(NamedTuple):
    """How often a publication did not load; time of the next try, infinite for none."""

    times: int
    retry_at: float


class LoadFailures:
    """Paces the retries of loads that failed. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        """Begins without failures."""
        self._failures: dict[Publication, _Failure] = {}

    def record(self, publication: Publication, error: Exception, now: float) -> float | None:
        """Remembers that a publication did not load, and returns the seconds to the next try.

        None: it is not tried again until it changes, as with a damaged artifact. A store that
        cannot be read is asked again after 1 s, then later and later up to every 60 s; a graph
        that the engine refuses, and whatever nobody thought of, after 30 s up to every 900 s.
        """
        pace = _retry_pace(error)
        before = self._failures.get(publication)
        count = before.times + 1 if before else 1
        wait = pace.after(count) if pace else None
        retry_at = _NEVER if wait is None else now + wait
        self._failures[publication] = _Failure(count, retry_at)
        return wait

    def waiting(self, now: float) -> set[Publication]:
        """Returns the publications that are not to be tried now."""
        return {one for one, failure in self._failures.items() if failure.retry_at > now}

    def retry_in(self, publication: Publication, now: float) -> float | None:
        """Returns the seconds to the next try: 0 when it may be tried now, None for never."""
        failure = self._failures.get(publication)
        if failure is None:
            return 0.0
        return None if failure.retry_at == _NEVER else max(0.0, failure.retry_at - now)

    def keep(self, current: Collection[Publication]) -> None:
        """Forgets the publications that are not among the current ones."""
        current = {*current}
        self._failures = {one: kept for one, kept in self._failures.items() if one in current}

    def forget(self, model: str) -> None:
        """Forgets every failure of a model: someone asks for it again."""
        self._failures = {one: kept for one, kept in self._failures.items() if one.model != model}


def _retry_pace(error: Exception) -> _Pace | None:
    """Returns how to retry a load; None: not until the publication changes."""
    if isinstance(error, errors.StoreUnavailable):
        return _RETRY_STORE
    if isinstance(error, errors.EngineFailed) or not isinstance(error, errors.PbserveError):
        return _RETRY_ENGINE
    return None
