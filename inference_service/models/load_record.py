"""How the load of each publication stands: under way or failed, why, and when it is tried again.

The one place where that is written: requests, status, the plan and operators all read it here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from inference_service.models.publication import Fingerprints, Publication
from inference_service.models.status import State, VersionStatus
from service_kit import errors

_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class _Load:
    """A publication that is LOADING or FAILED, and the failures of its loads so far.

    `failures` are those that count for the next try, `error` is the last one's, and `retry_at` is
    the time of the next try, infinite for none.
    """

    publication: Publication
    state: State = State.LOADING
    failures: int = 0
    error: errors.PbserveError | None = None
    retry_at: float = _NEVER


class LoadRecord:
    """What is known of versions that are loading, or did not load."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begins empty; `clock` (seconds, monotonic) paces the retries of what failed."""
        self._clock = clock
        self._loads: dict[tuple[str, int], _Load] = {}

    def begin(self, publication: Publication) -> None:
        """Remembers that a publication is being loaded, or waits for its turn."""
        self._set(replace(self._load(publication), state=State.LOADING))

    def fail(self, publication: Publication, error: errors.PbserveError) -> None:
        """Remembers that a publication did not load, why, and when it is to be tried again.

        A store that cannot be read is asked again after 1 s, then later and later up to every
        60 s; a graph that the engine refuses after 30 s up to every 900 s; one in quarantine when
        that ends. Anything else, a damaged artifact for example, is not tried again until it
        changes.
        """
        failures = self._load(publication).failures + 1
        retry_at = self._clock() + _pause(error, failures)
        self._set(_Load(publication, State.FAILED, failures, _bare(error), retry_at))

    def end(self, model: str, version: int) -> None:
        """Forgets a version: it is served now, or gone."""
        self._loads.pop((model, version), None)

    def allow_retry(self, model: str) -> None:
        """Lets everything of a model be tried now, as if it had not failed: it is asked for."""
        for load in [one for one in self._loads.values() if one.publication.model == model]:
            self._set(replace(load, failures=0))

    def keep(self, published: Fingerprints) -> None:
        """Forgets the failures of publications that the store has no more.

        A number that was published anew keeps its status until it is loaded.
        """
        for (model, version), load in [*self._loads.items()]:
            fingerprint = published.get(model, {}).get(version)
            if fingerprint is None and load.state is State.FAILED:
                self.end(model, version)
            elif fingerprint != load.publication.fingerprint:
                self._set(replace(load, failures=0))

    def waiting(self) -> set[Publication]:
        """Returns the publications that have failed and are not to be tried now."""
        now, loads = self._clock(), self._loads.values()
        return {one.publication for one in loads if one.failures and one.retry_at > now}

    def failure(self, publication: Publication) -> errors.PbserveError | None:
        """Returns why a publication did not load, to raise it; None: no load has failed."""
        load = self._load(publication)
        return _bare(load.error) if load.error and load.failures else None

    def versions(self) -> set[tuple[str, int]]:
        """Returns (model, version) of everything that is loading or did not load."""
        return {*self._loads}

    def statuses(self, model: str) -> dict[int, VersionStatus]:
        """Returns version -> status of those of a model that are loading or did not load."""
        loads = [load for (name, _), load in self._loads.items() if name == model]
        return {load.publication.version: self._status(load) for load in loads}

    def _status(self, load: _Load) -> VersionStatus:
        if load.state is State.LOADING:
            return VersionStatus(load.publication.version, State.LOADING)
        wait = None if load.retry_at == _NEVER else max(0.0, load.retry_at - self._clock())
        return VersionStatus(load.publication.version, State.FAILED, load.error, retry_in=wait)

    def _load(self, publication: Publication) -> _Load:
        found = self._loads.get((publication.model, publication.version))
        return found if found and found.publication == publication else _Load(publication)

    def _set(self, load: _Load) -> None:
        self._loads[load.publication.model, load.publication.version] = load


def _pause(error: errors.PbserveError, failures: int) -> float:
    """Returns the seconds to wait after so many failures, at least one; infinite: for ever."""
    if isinstance(error, errors.StoreUnavailable):
        first, last = 1, 60
    elif isinstance(error, errors.EngineFailed):
        # To find out costs seconds of computing each time, but memory may come back.
        first, last = 30, 900
    elif isinstance(error, errors.Quarantined) and error.retry_after is not None:
        return error.retry_after
    else:
        return _NEVER
    # 2 ** 16 is beyond both; without a bound it grows past what a float holds.
    return min(first * 2.0 ** min(failures - 1, 16), last)


def _bare(error: errors.PbserveError) -> errors.PbserveError:
    """Returns the error without its traceback, whose frames keep what the load had in memory."""
    return type(error)(error.message, retry_after=error.retry_after)
