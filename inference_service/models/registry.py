"""What is served right now: versions, leases, and the atomic flip.

Belongs to the event loop: no method may be called from another thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from inference_service.models.labels import DEFAULT_LABEL
from inference_service.models.servable import Servable
from inference_service.models.status import ModelStatus, State, VersionStatus
from service_kit import errors

# Versions of a model that are remembered when they are gone.
_MAX_ENDED = 32
# What a caller is told to wait for a version that is loading.
_RETRY_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Note:
    """What is known of a version that is not served, or not as it is published now."""

    state: State
    reason: str
    retry_at: float | None


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

    @contextlib.contextmanager
    def lease(self) -> Iterator[Servable]:
        """Keeps the servable alive."""
        self._leases += 1
        self._unleased.clear()
        try:
            yield self.servable
        finally:
            self._leases -= 1
            if not self._leases:
                self._unleased.set()

    async def unleased(self) -> None:
        """Returns when the last lease has ended."""
        await self._unleased.wait()


class Registry:
    """Served versions by model, and what is known of versions that are not served."""

    def __init__(
        self,
        labels: Callable[[str], Mapping[str, int]] = lambda _: {},
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins empty.

        Args:
            labels: returns label -> version of a model.
            clock: that of the retries in `note`, in seconds.
        """
        self._labels = labels
        self._clock = clock
        self._served: dict[str, dict[int, Loaded]] = {}
        self._leaving: list[Loaded] = []
        # Latest last.
        self._ended: dict[str, list[int]] = {}
        self._notes: dict[tuple[str, int], _Note] = {}

    @contextlib.contextmanager
    def lease(self, model: str, version: int = 0, label: str = "") -> Iterator[Servable]:
        """Yields a version of a model and keeps it alive meanwhile.

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
        with self._find(model, version, label).lease() as servable:
            yield servable

    def _find(self, model: str, version: int, label: str) -> Loaded:
        served = self._served.get(model, {})
        known = {noted: note for (name, noted), note in self._notes.items() if name == model}
        if not served and not known:
            raise self._no_model(model)
        number = self._labelled(model, label) if label else version or self._default(model)
        if number in served:
            return served[number]
        number = number or max(known)
        if number in known:
            raise self._unavailable(model, number, known[number])
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

    def _unavailable(self, model: str, version: int, note: _Note) -> errors.ModelUnavailable:
        reason = f": {note.reason}" if note.reason else ""
        retry_after = _RETRY_AFTER_SECONDS if note.state is State.LOADING else self._retry_in(note)
        return errors.ModelUnavailable(
            f"model {model} version {version} is {note.state.value}{reason}",
            retry_after=retry_after,
        )

    def _retry_in(self, note: _Note) -> float | None:
        return None if note.retry_at is None else max(0.0, note.retry_at - self._clock())

    def install(self, loaded: Loaded) -> Loaded | None:
        """Serves a version from this moment on; returns what had its place before, if any."""
        servable = loaded.servable
        self._notes.pop((servable.model, servable.version), None)
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

    def note(
        self,
        model: str,
        version: int,
        state: State,
        reason: str = "",
        retry_at: float | None = None,
    ) -> None:
        """Remembers that a version is LOADING or FAILED, why, and when it is tried again."""
        self._notes[model, version] = _Note(state, reason, retry_at)

    def keep_notes(self, published: Mapping[str, Collection[int]]) -> None:
        """Forgets failures of versions that are not published any more."""
        self._notes = {
            (model, version): note
            for (model, version), note in self._notes.items()
            if note.state is State.LOADING or version in published.get(model, ())
        }

    def fingerprints(self) -> dict[str, dict[int, str]]:
        """Returns model -> version -> fingerprint of what is served."""
        return {
            model: {version: loaded.fingerprint for version, loaded in versions.items()}
            for model, versions in self._served.items()
        }

    def versions(self) -> set[tuple[str, int]]:
        """Returns (model, version) of everything that is served, drained, or known otherwise."""
        served = {(model, version) for model, found in self._served.items() for version in found}
        leaving = {(one.servable.model, one.servable.version) for one in self._leaving}
        return {*served, *leaving, *self._notes}

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
        names = sorted({*self._served, *(noted for noted, _ in self._notes)})
        return errors.ModelNotFound(
            f"there is no model {model!r}; there are {', '.join(names) or 'none'}"
        )

    def statuses(self) -> list[ModelStatus]:
        """Returns every model's status, by name."""
        leaving = {loaded.servable.model for loaded in self._leaving}
        noted = {model for model, _ in self._notes}
        return [self.status(model) for model in sorted({*self._served, *leaving, *noted})]

    def status(self, model: str) -> ModelStatus:
        """Returns a model's status.

        Raises:
            ModelNotFound: the message names the models that exist.
        """
        found: dict[int, VersionStatus] = {}
        for loaded in self._leaving:
            if loaded.servable.model == model:
                version = loaded.servable.version
                found[version] = VersionStatus(
                    version, State.UNLOADING, "", loaded.servable, loaded.leases
                )
        for (name, version), note in self._notes.items():
            if name == model:
                found[version] = VersionStatus(
                    version, note.state, note.reason, None, 0, self._retry_in(note)
                )
        for version, loaded in self._served.get(model, {}).items():
            # A note beside a served version tells of a newer publication under its number.
            beside = found.get(version)
            found[version] = VersionStatus(
                version,
                State.AVAILABLE,
                beside.reason if beside else "",
                loaded.servable,
                loaded.leases,
                beside.retry_in if beside else None,
            )
        if not found:
            raise self._no_model(model)
        ordered = tuple(found[version] for version in sorted(found))
        return ModelStatus(model, self._default(model), ordered, self._labels(model))
