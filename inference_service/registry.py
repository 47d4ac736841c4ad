"""What is served right now: versions, leases, and the atomic flip.

Belongs to the event loop: no method may be called from another thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from inference_service.servable import Servable
from service_kit import errors

# What a caller is told to wait for a version that is loading.
_RETRY_AFTER_SECONDS = 1.0


class State(enum.Enum):
    """What the server does with a version."""

    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """A version's state, the reason of a failure, and its servable while it has one."""

    version: int
    state: State
    reason: str
    servable: Servable | None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model's versions in order; `default_version` is 0 when none is served."""

    name: str
    default_version: int
    versions: tuple[VersionStatus, ...]


class Loaded:
    """A servable with the number of its leases."""

    def __init__(self, servable: Servable, fingerprint: str) -> None:
        """Wraps a servable that was loaded from the publication with that fingerprint."""
        self.servable = servable
        self.fingerprint = fingerprint
        self._leases = 0
        self._unleased = asyncio.Event()
        self._unleased.set()

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

    def __init__(self) -> None:
        """Begins empty."""
        self._served: dict[str, dict[int, Loaded]] = {}
        self._leaving: list[Loaded] = []
        self._notes: dict[tuple[str, int], tuple[State, str]] = {}

    @contextlib.contextmanager
    def lease(self, model: str, version: int = 0, label: str = "") -> Iterator[Servable]:
        """Yields a version of a model and keeps it alive meanwhile.

        Args:
            model: name of the model.
            version: 0 means the newest one served.
            label: of a version instead of its number.

        Raises:
            ModelNotFound, VersionNotFound, LabelNotFound: the message names what exists.
            ModelUnavailable: it is known and not served now; the message says why.
            InvalidRequest: version and label are both given.
        """
        if version and label:
            raise errors.InvalidRequest("give a version or a label, not both")
        if label:
            self._find(model, 0)
            raise errors.LabelNotFound(f"model {model} has no label {label}; it has none")
        with self._find(model, version).lease() as servable:
            yield servable

    def _find(self, model: str, version: int) -> Loaded:
        served = self._served.get(model, {})
        number = version or max(served, default=0)
        if number in served:
            return served[number]
        known = {noted: note for (name, noted), note in self._notes.items() if name == model}
        if not served and not known:
            raise self._no_model(model)
        number = number or max(known)
        if number in known:
            state, reason = known[number]
            raise errors.ModelUnavailable(
                f"model {model} version {number} is {state.value}" + (f": {reason}" * bool(reason)),
                retry_after=_RETRY_AFTER_SECONDS if state is State.LOADING else None,
            )
        numbers = ", ".join(str(one) for one in sorted({*served, *known}))
        raise errors.VersionNotFound(f"model {model} has no version {version}; it has {numbers}")

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

    def note(self, model: str, version: int, state: State, reason: str = "") -> None:
        """Remembers that a version is LOADING or FAILED, and why."""
        self._notes[model, version] = (state, reason)

    def keep_notes(self, published: Mapping[str, Collection[int]]) -> None:
        """Forgets failures of versions that are not published any more."""
        self._notes = {
            (model, version): note
            for (model, version), note in self._notes.items()
            if note[0] is State.LOADING or version in published.get(model, ())
        }

    def fingerprints(self) -> dict[str, dict[int, str]]:
        """Returns model -> version -> fingerprint of what is served."""
        return {
            model: {version: loaded.fingerprint for version, loaded in versions.items()}
            for model, versions in self._served.items()
        }

    def is_served(self, model: str) -> bool:
        """Whether some version of the model answers requests."""
        return model in self._served

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
                found[version] = VersionStatus(version, State.UNLOADING, "", loaded.servable)
        for (name, version), (state, reason) in self._notes.items():
            if name == model:
                found[version] = VersionStatus(version, state, reason, None)
        served = self._served.get(model, {})
        for version, loaded in served.items():
            # A note beside a served version tells of a newer publication under its number.
            _, reason = self._notes.get((model, version), (None, ""))
            found[version] = VersionStatus(version, State.AVAILABLE, reason, loaded.servable)
        if not found:
            raise self._no_model(model)
        ordered = tuple(found[version] for version in sorted(found))
        return ModelStatus(model, max(served, default=0), ordered)
