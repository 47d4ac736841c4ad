"""What each variable is that is both read and assigned: a weight, a statistic, or state.

A frozen graph assigns nothing. The stored value is what inference needs of a weight, of an average
over training's batches, and of what never depends on the input. Anything else carries what one call
has seen to the next: its stored value would give every request the context of a stranger.

The decisions follow the data, as far as the whole graph computes it, and no names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import Enum

from exporter_service.meta_graph.detection.assignments import Assignment, assignments, with_bodies
from exporter_service.meta_graph.detection.average_arithmetic import ASSIGNS, is_average, manners
from exporter_service.meta_graph.detection.batch_axis import EXTREMA
from exporter_service.meta_graph.detection.content import AVERAGED, FIXED, Content, Origin
from exporter_service.meta_graph.detection.origins import Origins
from exporter_service.meta_graph.detection.quantization import sets_a_range
from exporter_service.meta_graph.detection.weight_gradients import WeightGradients, is_own, is_slot
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.variables import graph_variable

_ADDING = ("AssignAdd", "AssignSub", "CountUpTo", "ResourceCountUpTo")
_ACCEPTED = frozenset(["average", "extremum", "same", "copy"])


class Role(Enum):
    """What a variable is, in the words of the manifest's report."""

    TRAINED = "trained by gradient"
    SLOT = "an optimizer's slot"
    SHADOW = "a moving average of a trained variable"
    INDEPENDENT = "assigned from nothing that depends on the input"
    AVERAGE = "a moving average over training's batches"
    EXTREMUM = "an extremum over training's batches"
    DERIVED = "computed from averages over training's batches"
    STATE = "state: it carries what one call has seen to the next"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a variable is.

    Attributes:
        role: which kind; all but STATE keep the stored value.
        content: what its value says of the input.
        update: the node that shows it, by assigning the variable; empty for a trained one.
        counts: it only goes on from its own value, as a counter does.
    """

    role: Role
    content: Content = FIXED
    update: str = ""
    counts: bool = False


def decide(
    graph: NodeGraph,
    wanted: AbstractSet[str],
    trainable: AbstractSet[str],
    inputs: AbstractSet[Port] = frozenset(),
) -> Mapping[str, Decision]:
    """Returns the decision for every variable among some that anything assigns.

    Args:
        graph: the whole training graph, before anything was switched; it is not changed.
        wanted: the variables that the outputs are computed from.
        trainable: those that the `.meta` lists as trainable.
        inputs: ports that requests will bring, beside the graph's own feeds.

    Raises:
        MetaGraphUnusable: a function that is given a variable is absent, or calls itself.
    """
    graph = with_bodies(graph, wanted - trainable)
    found = assignments(graph)
    relevant = _relevant(graph, found, wanted & found.keys(), trainable)
    decisions = {name: Decision(Role.TRAINED) for name in relevant & trainable}
    open_ = sorted(relevant - trainable)
    if open_:
        assigning = {one.node: one.first for those in found.values() for one in those}
        gradients = WeightGradients(graph)
        while True:
            origins = Origins(
                graph, inputs, assigning, {name: one.content for name, one in decisions.items()}
            )
            judge = _Judge(graph, origins, gradients, trainable, decisions)
            changed = _raised(decisions, {name: judge.joint(found[name]) for name in open_})
            if not changed:
                break
            decisions |= changed
    return {name: decisions[name] for name in sorted(wanted & decisions.keys())}


def _raised(before: Mapping[str, Decision], after: Mapping[str, Decision]) -> dict[str, Decision]:
    """Returns the decisions that say more than before.

    From nothing upwards: what is given something may give it to others.
    """
    return {
        name: one
        for name, one in after.items()
        if name not in before or _weight(one) > _weight(before[name])
    }


def _relevant(
    graph: NodeGraph,
    found: Mapping[str, Sequence[Assignment]],
    wanted: AbstractSet[str],
    trainable: AbstractSet[str],
) -> set[str]:
    """Returns the variables that some are assigned from, and these from, themselves included."""
    relevant: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name in relevant or name not in found:
            continue
        relevant.add(name)
        if name not in trainable:
            sources = graph.ancestors(Port(one.node) for one in found[name])
            waiting += [one for one in sources if one in found]
    return relevant


class _Judge:
    """Decides on single assignments, given what all variables hold so far."""

    def __init__(
        self,
        graph: NodeGraph,
        origins: Origins,
        gradients: WeightGradients,
        trainable: AbstractSet[str],
        decisions: Mapping[str, Decision],
    ) -> None:
        self._slots = {name for name, one in decisions.items() if one.role is Role.SLOT}
        self._graph = graph
        self._origins = origins
        self._gradients = gradients
        self._trainable = trainable

    def joint(self, assigned: Iterable[Assignment]) -> Decision:
        """Returns the decision that says most of the input, and of equal ones the most exact."""
        decisions = [self._decision(one) for one in assigned]
        return replace(max(decisions, key=_weight), counts=any(one.counts for one in decisions))

    def _decision(self, one: Assignment) -> Decision:
        contents = [self._origins.of(port) for port in one.values]
        content = max(contents, default=FIXED, key=_key)
        if content.origin <= Origin.AVERAGED and not self._is_conditional(one):
            return self._unfed(one, content)
        role = self._trained(one)
        if role is not None:
            return Decision(role, FIXED, one.node)
        role = self._statistic(one)
        if role is not None:
            return Decision(role, AVERAGED, one.node)
        # As the best weights so far are kept, or averages while the loss is finite.
        if content.origin <= Origin.AVERAGED and self._origins.read(one.values) & self._trainable:
            return self._unfed(one, content)
        content = max(content, Content(Origin.REDUCED), key=_key)
        # What is put into places of a variable lies along other axes than the variable's.
        whole = content if self._arithmetic(one) else Content(content.origin)
        return Decision(Role.STATE, whole, one.node)

    def _unfed(self, one: Assignment, content: Content) -> Decision:
        if content.origin is Origin.AVERAGED:
            return Decision(Role.DERIVED, AVERAGED, one.node)
        others = self._origins.read(one.values) - {one.variable}
        if self._arithmetic(one) and any(
            is_average(self._graph, one.node, one.variable, Port(name)) for name in sorted(others)
        ):
            return Decision(Role.SHADOW, FIXED, one.node)
        if any(self._alike(name, one.variable) for name in others & self._slots):
            return Decision(Role.TRAINED, FIXED, one.node)
        op = self._graph.nodes[one.node].op
        goes_on = one.variable in self._origins.read(one.values) or op.startswith(
            ("AssignAdd", "AssignSub")
        )
        return Decision(Role.INDEPENDENT, FIXED, one.node, counts=goes_on and not others)

    def _alike(self, name: str, other: str) -> bool:
        shapes = {graph_variable(self._graph, each).shape for each in (name, other)}
        return len(shapes) == 1

    def _is_conditional(self, one: Assignment) -> bool:
        """Whether the input decides if, or with which of several values, it happens."""
        return any(
            self._origins.of(port).origin > Origin.AVERAGED
            for port in self._origins.conditions(one.values, [one.node])
        )

    def _trained(self, one: Assignment) -> Role | None:
        """Returns TRAINED or SLOT for what an optimizer changes, also one written by hand."""
        is_first = one.first == one.variable
        sources = self._gradients.sources(one.values, self._origins)
        if is_own(sources, one.first):
            return Role.TRAINED if is_first else Role.SLOT
        others_slot = not is_first and one.first in self._trainable
        return Role.SLOT if others_slot or is_slot(self._graph, sources, one.variable) else None

    def _statistic(self, one: Assignment) -> Role | None:
        """Returns AVERAGE or EXTREMUM for what follows a statistic of the batch."""
        if not self._arithmetic(one):
            return None
        (value,) = one.values
        inner, ends = self._origins.walk(value)
        for source in (*inner, *ends):
            if self._origins.of(source).origin is not Origin.REDUCED:
                continue
            others = self._origins.walk(value, stop=source)[1]
            if any(
                self._origins.of(port).origin > Origin.AVERAGED for port in others if port != source
            ):
                continue
            words = manners(self._graph, one.node, one.variable, source)
            if words <= _ACCEPTED and "average" in words:
                return Role.AVERAGE
            if self._is_extremum(source) and words <= _ACCEPTED:
                running = "extremum" in words
                if running or sets_a_range(self._graph, one.variable, one.node):
                    return Role.EXTREMUM
        return None

    def _is_extremum(self, source: Port) -> bool:
        """Whether a statistic is made of the greatest and smallest of a batch, and of no other."""
        return all(
            self._graph.op(port) in EXTREMA
            for port in self._origins.walk(source)[1]
            if self._origins.of(port).origin > Origin.AVERAGED
        )

    def _arithmetic(self, one: Assignment) -> bool:
        return len(one.values) == 1 and self._graph.nodes[one.node].op in ASSIGNS


def _weight(one: Decision) -> tuple[tuple[int, int], int]:
    """Orders decisions by what they say of the input; of equal ones the exact is the greater."""
    return _key(one.content), -list(Role).index(one.role)


def _key(content: Content) -> tuple[int, int]:
    return content.origin, content.axis is None
