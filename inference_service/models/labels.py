"""Names that point at versions: `stable`, `canary`. Belongs to the event loop."""

from __future__ import annotations

from collections.abc import Collection, Mapping

# What requests get that name neither version nor label, once it is set.
DEFAULT_LABEL = "default"


class Labels:
    """The labels of one model, from its settings and from operators.

    A label moves when its new version is served, never before: until then it stays at the old
    one, so nobody who asks for the label waits for a load.
    """

    def __init__(self) -> None:
        """Begins without labels."""
        self._configured: Mapping[str, int] = {}
        self._set: dict[str, int] = {}
        self._current: dict[str, int] = {}

    @property
    def current(self) -> Mapping[str, int]:
        """Label -> the version that answers for it."""
        return self._current

    @property
    def versions(self) -> frozenset[int]:
        """The versions that labels point at, or are to move to."""
        return frozenset({*self._current.values(), *self._wanted().values()})

    def configure(self, labels: Mapping[str, int]) -> None:
        """Takes the labels of the settings; where those change they win over an operator's."""
        for label in {*labels, *self._configured}:
            if labels.get(label) != self._configured.get(label):
                self._set.pop(label, None)
        self._configured = dict(labels)

    def set(self, label: str, version: int) -> None:
        """Points a label at a version, which has to be served; 0 removes it."""
        self._set[label] = version
        if version:
            self._current[label] = version
        else:
            self._current.pop(label, None)

    def replace(self, labels: Mapping[str, int]) -> None:
        """Makes `labels`, whose versions have to be served, all that there are.

        Those of the settings that are not among them are gone until the settings change them.
        """
        self._set = {**dict.fromkeys(self._configured, 0), **labels}
        self._current = dict(labels)

    def settle(self, served: Collection[int]) -> None:
        """Moves the labels whose versions are served by now; drops those that are not wanted."""
        wanted = self._wanted()
        self._current = {
            label: version if version in served else self._current.get(label, version)
            for label, version in wanted.items()
        }

    def _wanted(self) -> dict[str, int]:
        merged = {**self._configured, **self._set}
        return {label: version for label, version in merged.items() if version}
