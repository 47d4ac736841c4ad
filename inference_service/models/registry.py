"""What is served right now: versions, leases, and the atomic flip.

Belongs to the event loop: no method may be called from another thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from inference_service.models.labels import DEFAULT_LABEL
from inference_service.models.load_record import LoadRecord
from inference_service.models.publication import Publication
from inference_service.models.servable import Servable
from inference_service.models.status import ModelStatus, State, VersionStatus
from service_kit import errors
from service_kit.close_names import not_found

# Versions of a model that are remembered when they are gone.
_MAX_ENDED = 32
# What a caller is told to wait for a version that is loading.
_RETRY_AFTER_SECONDS = 1.0


class Loaded:
    """A servable with the number of its leases."""

    def __init__(self, servable: Servable, fingerprint: str) -> None:
        """Wraps a servable that was loaded from the publication with that fingerprint."""
        self.servable = servable
        self.fingerprint = fingerprint
        self._leases = 0
        self._unleased = asyncio.Event()
        self._unleased.set()

    @property
    def leases(self) -> int:
        """Requests that have it now."""
        return self._leases

    def __enter__(self) -> Servable:
        """Keeps the servable alive."""
        if not self._leases:
            self._unleased.clear()
        self._leases += 1
        return self.servable

    def __exit__(self, *_: object) -> None:
        self._leases -= 1
        if not self._leases:
            self._unleased.set()

    async def unleased(self) -> None:
        """Returns when the last lease has ended."""
        await self._unleased.wait()


class Registry:
    """Served versions by model; `loads` has what is known of those that are loading or failed."""

    def __init__(
        self,
        labels: Callable[[str], Mapping[str, int]] = lambda _: {},
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins empty.

        Args:
            labels: returns label -> version of a model.
            clock: paces the retries of failed loads, in seconds.
        """
        self.loads = LoadRecord(clock)
        # Whether the store has been read: until then nobody knows that there is no such model.
        self.store_is_read = True
        self._labels = labels
        self._served: dict[str, dict[int, Loaded]] = {}
        self._leaving: list[Loaded] = []
        # Latest last.
        self._ended: dict[str, list[int]] = {}

    def lease(self, model: str, version: int = 0, label: str = "") -> Loaded:
        """Returns a version of a model; entered, it is kept alive meanwhile.

        Args:
            model: name of the model.
            version: 0 means the one of the label `default`, or the newest one served.
            label: of a version instead of its number.

        Raises:
            ModelNotFound, VersionNotFound, LabelNotFound: the message names what exists.
            ModelUnavailable: it is known and not served now; the message says why.
            InvalidRequest: version and label are both given.
        """
        if version and label:
            raise errors.InvalidRequest("give a version or a label, not both")
        if not label and (served := self._served.get(model)):
            found = served.get(version or self._default(model))
            if found:
                return found
        return self._find(model, version, label)

    def _find(self, model: str, version: int, label: str) -> Loaded:
        served = self._served.get(model, {})
        known = self.loads.statuses(model)
        if not (served or known or self.store_is_read):
            raise errors.ModelUnavailable(
                f"ask for model {model} again: this server has just started, and not read its "
                "store yet",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        if not served and not known:
            raise self._no_model(model)
        number = self._labelled(model, label) if label else version or self._default(model)
        if number in served:
            return served[number]
        number = number or max(known)
        if number in known:
            raise _unavailable(model, known[number])
        numbers = ", ".join(str(one) for one in sorted({*served, *known}))
        if label:
            raise errors.LabelNotFound(
                f"label {label} of model {model} is at version {number}, which is gone; there is "
                f"{numbers}"
            )
        raise errors.VersionNotFound(f"model {model} has no version {number}; it has {numbers}")

    def _default(self, model: str) -> int:
        """Returns the version for who names none; 0: none is served."""
        served, labelled = self._served.get(model, {}), self._labels(model).get(DEFAULT_LABEL, 0)
        return labelled if labelled in served else max(served, default=0)

    def _labelled(self, model: str, label: str) -> int:
        labels = self._labels(model)
        if label not in labels:
            raise errors.LabelNotFound(
                f"model {model} has no label {label}; it has {', '.join(sorted(labels)) or 'none'}"
            )
        return labels[label]

    def install(self, loaded: Loaded) -> Loaded | None:
        """Serves a version from this moment on; returns what had its place before, if any."""
        servable = loaded.servable
        self.loads.end(servable.model, servable.version)
        versions = self._served.setdefault(servable.model, {})
        displaced = versions.get(servable.version)
        versions[servable.version] = loaded
        if displaced:
            self._leaving.append(displaced)
        return displaced

    def withdraw(self, model: str, version: int) -> Loaded | None:
        """Stops serving a version: it gets no new lease. Returns it to be drained and freed."""
        withdrawn = self._served.get(model, {}).pop(version, None)
        if not self._served.get(model):
            self._served.pop(model, None)
        if withdrawn:
            self._leaving.append(withdrawn)
        return withdrawn

    def freed(self, loaded: Loaded) -> None:
        """Forgets a version that was withdrawn or displaced and is closed by now."""
        self._leaving.remove(loaded)
        model, version = loaded.servable.model, loaded.servable.version
        kept = [one for one in self._ended.get(model, []) if one != version]
        self._ended[model] = [*kept, version][-_MAX_ENDED:]

    def ended(self, model: str) -> list[int]:
        """Returns the versions of a model that were served before; some of them may be again."""
        return list(self._ended.get(model, []))

    def serves(self, publication: Publication) -> bool:
        """Whether a publication is served, and no other under its number."""
        served = self._served.get(publication.model, {}).get(publication.version)
        return served is not None and served.fingerprint == publication.fingerprint

    def fingerprints(self) -> dict[str, dict[int, str]]:
        """Returns model -> version -> fingerprint of what is served."""
        return {
            model: {version: loaded.fingerprint for version, loaded in versions.items()}
            for model, versions in self._served.items()
        }

    def versions(self) -> set[tuple[str, int]]:
        """Returns (model, version) of everything that is served, drained, or known otherwise."""
        loaded = {(servable.model, servable.version) for servable in self.loaded()}
        return loaded | self.loads.versions()

    def servables(self) -> list[Servable]:
        """Returns everything that is served."""
        return [one.servable for versions in self._served.values() for one in versions.values()]

    def loaded(self) -> list[Servable]:
        """Returns everything that is served, or still has requests from when it was."""
        return [*self.servables(), *(one.servable for one in self._leaving)]

    def default(self, model: str) -> Servable | None:
        """Returns what answers requests that name neither version nor label."""
        loaded = self._served.get(model, {}).get(self._default(model))
        return loaded.servable if loaded else None

    def _no_model(self, model: str) -> errors.ModelNotFound:
        names = sorted({*self._served, *(model for model, _ in self.loads.versions())})
        return errors.ModelNotFound(not_found(f"there is no model {model!r}", model, names))

    def statuses(self) -> list[ModelStatus]:
        """Returns every model's status, by name."""
        return [self.status(model) for model in sorted({model for model, _ in self.versions()})]

    def status(self, model: str) -> ModelStatus:
        """Returns a model's status.

        Raises:
            ModelNotFound: the message names the models that exist.
        """
        loads = self.loads.statuses(model)
        leaving = [one for one in self._leaving if one.servable.model == model]
        found = {one.servable.version: _status(State.UNLOADING, one) for one in leaving} | loads
        for version, loaded in self._served.get(model, {}).items():
            status = _status(State.AVAILABLE, loaded)
            beside = loads.get(version, status)
            found[version] = replace(status, error=beside.error, retry_in=beside.retry_in)
        if not found:
            raise self._no_model(model)
        ordered = tuple(found[version] for version in sorted(found))
        return ModelStatus(model, self._default(model), ordered, self._labels(model))


def _status(state: State, loaded: Loaded) -> VersionStatus:
    servable = loaded.servable
    return VersionStatus(servable.version, state, servable=servable, leases=loaded.leases)


def _unavailable(model: str, status: VersionStatus) -> errors.ModelUnavailable:
    reason = f": {status.reason}" if status.reason else ""
    return errors.ModelUnavailable(
        f"model {model} version {status.version} is {status.state.value}{reason}",
        retry_after=_RETRY_AFTER_SECONDS if status.state is State.LOADING else status.retry_in,
    )
