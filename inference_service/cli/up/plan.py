"""What to ask of the exporter, from what a checkpoint holds and what was wished. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from service_kit import errors

META_GRAPH = "META_GRAPH"
_SHOWN = 3
_RANK_OF_IMAGES = 4


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says; empty: not said. Sizes in pixels."""

    architecture: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    mean: tuple[float, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    bindings: Mapping[str, Any] = field(default_factory=dict)
    cards: int = 1

    @property
    def names_tensors(self) -> bool:
        """Whether something is said that only a graph that exists can be told."""
        return bool(self.inputs or self.outputs or self.bindings)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tensor of the training graph: its name, what it is, its shape (None: not known)."""

    name: str
    kind: str
    shape: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


@dataclass(frozen=True, slots=True)
class Fit:
    """An architecture whose variables are all in the checkpoint."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a checkpoint holds, as far as it decides how it is converted.

    Attributes:
        path: of the checkpoint.
        digest: SHA-256 of its index.
        step: of training; None: not known.
        fits: architectures, the most specific first.
        inputs: tensors that bring values to the likeliest output.
        outputs: tensors that may be the answer, the likeliest first.
        has_graph: whether there is a training graph.
        problem: why that cannot be read; empty: it can.
    """

    path: str
    digest: str
    step: int | None
    fits: Sequence[Fit] = ()
    inputs: Sequence[Candidate] = ()
    outputs: Sequence[Candidate] = ()
    has_graph: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A conversion, and why it is this one, for people."""

    architecture: str
    parameters: Mapping[str, Any]
    image_size: tuple[int, int] | None
    mean: tuple[float, ...]
    cards: int
    reason: str


def plan_conversion(found: Inspection, wishes: Wishes) -> Plan:
    """Returns how a checkpoint is converted.

    By the architecture that was named, or the first that fits, or else from the training graph.
    Where tensors are named, from the training graph: an architecture has none of these names.

    Raises:
        Unconvertible: nothing fits, and there is no training graph; says what would help.
    """
    if wishes.architecture:
        return _planned(wishes, wishes.architecture, {}, wishes.image_size, "as asked")
    if found.fits and not wishes.names_tensors:
        fit = found.fits[0]
        size = wishes.image_size or _image_size(found.inputs)
        return _planned(wishes, fit.name, fit.parameters, size, "its variables fit")
    if found.has_graph and not found.problem:
        reason = "the graph of its .meta, as asked" if found.fits else "the graph of its .meta"
        return _planned(wishes, META_GRAPH, {}, wishes.image_size, reason)
    why = found.problem or "there is no .meta beside it"
    raise errors.Unconvertible(
        "copy the .meta beside the checkpoint, or name what to build with --architecture and "
        f"--set: none of the known architectures fits {found.path}, and {why}"
    )


def open_question(found: Inspection, plan: Plan, wishes: Wishes) -> Sequence[Candidate]:
    """Returns the outputs to choose from when the exporter refuses a plan; empty: no question."""
    if plan.architecture != META_GRAPH or wishes.outputs or len(found.outputs) < 2:
        return ()
    return found.outputs


def answered(wishes: Wishes, output: Candidate) -> Wishes:
    """Returns the wishes with the output that was chosen."""
    return replace(wishes, architecture=META_GRAPH, outputs=(output.name,))


def with_candidates(message: str, candidates: Sequence[Candidate]) -> str:
    """Returns a refusal with what to say, and the candidates."""
    named = ", ".join(map(str, candidates[:_SHOWN]))
    more = f", and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else ""
    return f"name the answer with --output: {named}{more}. The exporter says: {message}"


def _planned(
    wishes: Wishes,
    architecture: str,
    parameters: Mapping[str, Any],
    image_size: tuple[int, int] | None,
    reason: str,
) -> Plan:
    said: dict[str, Any] = {
        "inputs": list(wishes.inputs),
        "outputs": list(wishes.outputs),
        "bindings": dict(wishes.bindings),
    }
    named = {name: value for name, value in said.items() if value}
    return Plan(
        architecture,
        {**parameters, **named, **wishes.parameters},
        image_size,
        wishes.mean,
        wishes.cards,
        reason,
    )


def _image_size(inputs: Sequence[Candidate]) -> tuple[int, int] | None:
    """Returns the size that images have in training, where the graph knows it."""
    for one in inputs:
        if one.shape and len(one.shape) == _RANK_OF_IMAGES and min(one.shape[1:3]) > 0:
            return (one.shape[1], one.shape[2])
    return None
