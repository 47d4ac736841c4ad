"""Which versions should be served. Values in, values out: no clock, no disk, no TensorFlow."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

Fingerprints = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True, slots=True)
class Publication:
    """A version as it stands in the store; republishing its number changes the fingerprint."""

    model: str
    version: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Load:
    """Load the publication, then serve it."""

    publication: Publication


@dataclass(frozen=True, slots=True)
class Unload:
    """Stop serving the version."""

    model: str
    version: int


def plan(
    published: Fingerprints,
    served: Fingerprints,
    failed: Collection[Publication],
    busy: Collection[str],
) -> list[Load | Unload]:
    """Returns what to do so that the newest sound version of every model is served.

    An old version goes only when a newer one is served or when it left the store, so a model
    is never without an answer because of a version that does not load.

    Args:
        published: model -> version -> fingerprint in the store.
        served: the same of what is served.
        failed: publications that did not load and are not to be tried now.
        busy: models for which an action is under way; nothing is planned for them.
    """
    actions: list[Load | Unload] = []
    for model in sorted({*published, *served} - {*busy}):
        versions, running = published.get(model, {}), served.get(model, {})
        candidates = [Publication(model, v, print_) for v, print_ in sorted(versions.items())]
        sound = [candidate for candidate in candidates if candidate not in failed]
        wanted = sound[-1] if sound else None
        # A served version outlives a failed publication under its own number.
        best = max(
            (v for v in running if v in versions and (wanted is None or v > wanted.version)),
            default=None,
        )
        if best is None and wanted is not None:
            if running.get(wanted.version) != wanted.fingerprint:
                actions.append(Load(wanted))
                continue
            best = wanted.version
        actions.extend(Unload(model, v) for v in sorted(running) if v != best)
    return actions
