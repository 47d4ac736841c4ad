"""Which versions should be served. Values in, values out: no clock, no disk, no TensorFlow."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from inference_service.models.publication import Fingerprints, Publication


@dataclass(frozen=True, slots=True)
class Load:
    """Load the publication, then serve it."""

    publication: Publication


@dataclass(frozen=True, slots=True)
class Unload:
    """Stop serving the version."""

    model: str
    version: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Which of a model's versions to serve; `count` is for latest, `versions` for specific."""

    kind: Literal["latest", "all", "specific", "none"]
    count: int = 1
    versions: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """Holds the rule that types cannot: latest is of at least one."""
        assert self.count >= 1

    def of(self, versions: Collection[int]) -> set[int]:
        """Returns those of `versions` that are kept."""
        if self.kind == "latest":
            return set(sorted(versions)[-self.count :])
        if self.kind == "specific":
            return {*versions} & self.versions
        return {*versions} if self.kind == "all" else set()


LATEST_ONE = Keep("latest")
KEEP_ALL = Keep("all")
KEEP_NONE = Keep("none")


@dataclass(frozen=True, slots=True)
class Rule:
    """What is wanted of one model.

    `also` are versions wanted besides those of `keep` (a label points at them, an operator asked
    for them); `never` are versions that an operator unloaded. With `unload_first` what has to go
    goes before anything is loaded: for machines whose memory does not hold both.
    """

    keep: Keep = LATEST_ONE
    also: frozenset[int] = frozenset()
    never: frozenset[int] = frozenset()
    unload_first: bool = False

    def wanted(self, versions: Collection[int]) -> set[int]:
        """Returns those of `versions` that should be served."""
        allowed = {*versions} - self.never
        return self.keep.of(allowed) | (self.also & allowed)


def plan(
    published: Fingerprints,
    served: Fingerprints,
    failed: Collection[Publication],
    busy: Collection[str],
    rules: Mapping[str, Rule],
) -> list[Load | Unload]:
    """Returns what to do next so that of every model what its rule wants is served.

    Versions go only when everything wanted is served, so a model is never without an answer
    because of a version that is loading or does not load. A rule may say otherwise
    (`Rule.never`, `Rule.unload_first`), and what left the store does not wait for what fails.
    Actions of one model are in the order in which they are to be done; when they are done, there
    may be more to do.

    Args:
        published: model -> version -> fingerprint in the store.
        served: the same of what is served.
        failed: publications that did not load and are not to be tried now.
        busy: models for which an action is under way; nothing is planned for them.
        rules: of every model that is published or served.
    """
    actions: list[Load | Unload] = []
    for model in sorted({*published, *served} - {*busy}):
        versions, running = published.get(model, {}), served.get(model, {})
        sound = {v for v, print_ in versions.items() if Publication(model, v, print_) not in failed}
        unloads, loads = _next_steps(rules[model], versions, running, sound)
        actions += [Unload(model, v) for v in sorted(unloads)]
        actions += [Load(Publication(model, v, versions[v])) for v in sorted(loads, reverse=True)]
    return actions


def _next_steps(
    rule: Rule, versions: Mapping[int, str], running: Mapping[int, str], sound: set[int]
) -> tuple[set[int], set[int]]:
    """Returns what to unload, and what to load after that.

    Args:
        rule: of the model.
        versions: version -> fingerprint in the store.
        running: the same of what is served.
        sound: versions whose publication did not fail.
    """
    # A served version outlives a failed publication under its own number.
    eligible = sound | (versions.keys() & running.keys())
    wanted = rule.wanted(eligible)
    unwanted = running.keys() - wanted
    loads = {v for v in wanted & sound if running.get(v) != versions[v]}
    if loads and rule.unload_first:
        return unwanted | (running.keys() & loads), loads
    if loads:
        # Who unloaded these by hand does not wait for a load.
        return running.keys() & rule.never, loads
    if not wanted and rule.wanted(versions.keys()):
        # All that is wanted fails: what could be served goes on, though it is not wanted.
        return unwanted - (eligible - rule.never), set()
    return unwanted, set()
