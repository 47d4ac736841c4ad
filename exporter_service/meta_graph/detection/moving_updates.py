"""Moving averages as a training graph computes them, found by data flow and never by name.

Whatever wrote it, a moving average is an assignment to a variable S of a mixture of S itself and
one other tensor V: `S -= (S - V) * (1 - decay)`, `S = S * decay + V * (1 - decay)`, with or
without a bias correction. When V is a statistic of the batch, S is what inference takes in its
place; when V is a variable, S is its shadow. Whether it is a mixture is tried out
(`average_arithmetic`).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from exporter_service.meta_graph.detection.average_arithmetic import (
    ARITHMETIC,
    ASSIGNS,
    is_average,
    is_corrected,
    is_size,
)
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.variables import REFERENCE, RESOURCE, variable_of

# Their values are settings, not statistics.
_SETTINGS = frozenset(["Const", "Placeholder", "PlaceholderWithDefault", "ZerosLike", "OnesLike"])
# Of these only the first input is a value that is passed on.
_FIRST_INPUT = frozenset(["Reshape", "Switch", "RefSwitch", "Cast", "Squeeze", "ExpandDims"])
_DIVISIONS = frozenset(["RealDiv", "Div", "Reciprocal"])


@dataclass(frozen=True, slots=True)
class MovingUpdate:
    """A variable that follows a tensor; `update` is the node that assigns it."""

    variable: str
    source: Port
    update: str


@dataclass(slots=True)
class _Cone:
    """What an assigned value is computed from."""

    sources: set[Port] = field(default_factory=set)
    unclear: bool = False
    # Other variables whose update the value takes part of, as a bias correction does.
    chained: set[str] = field(default_factory=set)
    # Variables that it reads, and whether it divides: a bias correction does both.
    reads: set[str] = field(default_factory=set)
    divides: bool = False


def moving_updates(graph: NodeGraph, forward: AbstractSet[str]) -> list[MovingUpdate]:
    """Returns every moving average of a tensor that the forward computation has.

    Args:
        graph: the training graph, its updates included.
        forward: the nodes that the outputs are computed from, as in training.
    """
    found: list[MovingUpdate] = []
    derived: list[tuple[str, str, _Cone]] = []
    tainted = graph.dependents_of_nodes(forward) | forward
    for name in graph.of_op(*ASSIGNS):
        target, value = graph.inputs(name)[:2]
        variable = variable_of(graph, target)
        # What the forward computation reads is a weight, and its updates are training's.
        if variable is None or variable in forward:
            continue
        cone = _cone(graph, value, forward, tainted)
        if cone.unclear:
            continue
        source = min(cone.sources) if len(cone.sources) == 1 else None
        if source is not None and is_average(graph, name, variable, source):
            found.append(MovingUpdate(variable, source, name))
        elif cone.divides and len(cone.sources) <= 1:
            derived.append((variable, name, cone))
    return _corrected(graph, found, derived)


def _corrected(
    graph: NodeGraph, found: list[MovingUpdate], derived: list[tuple[str, str, _Cone]]
) -> list[MovingUpdate]:
    """Puts bias-corrected averages in the place of what they correct."""
    source_of = {update.variable: update.source for update in found}
    replaced: set[str] = set()
    corrected = []
    for variable, name, cone in derived:
        for biased in sorted((cone.reads | cone.chained) & source_of.keys() - {variable}):
            source = source_of[biased]
            if cone.sources <= {source} and is_corrected(graph, name, biased, source):
                corrected.append(MovingUpdate(variable, source, name))
                replaced.add(biased)
    return [update for update in found if update.variable not in replaced] + corrected


def _cone(
    graph: NodeGraph, value: Port, forward: AbstractSet[str], tainted: AbstractSet[str]
) -> _Cone:
    cone, seen, waiting = _Cone(), set[Port](), [value]
    while waiting:
        port = waiting.pop()
        if port not in seen:
            seen.add(port)
            waiting.extend(_before(graph, port, forward, tainted, cone))
    return cone


def _before(
    graph: NodeGraph,
    port: Port,
    forward: AbstractSet[str],
    tainted: AbstractSet[str],
    cone: _Cone,
) -> list[Port]:
    """Takes note of a port, and returns what it is computed from as far as that matters."""
    read = variable_of(graph, port)
    op = graph.op(port)
    if read is not None:
        cone.reads.add(read)
        if read in forward:
            cone.sources.add(Port(read))
        return []
    if op in _SETTINGS or is_size(graph, port):
        return []
    if port.node in forward:
        cone.sources.add(port)
        return []
    inputs = graph.inputs(port.node) if port.node in graph.nodes else []
    if op in ASSIGNS:
        other = variable_of(graph, inputs[0])
        if other is not None:
            cone.chained.add(other)
        return inputs[1:2]
    if op in ARITHMETIC:
        cone.divides |= op in _DIVISIONS
        return inputs[:1] if op in _FIRST_INPUT else inputs
    # What does not come from the forward computation is some number, whatever made it.
    cone.unclear |= port.node in tainted
    return []


def shadows(graph: NodeGraph, updates: list[MovingUpdate]) -> dict[str, list[str]]:
    """Returns variable -> the variables that are its moving averages, among some updates."""
    found: dict[str, list[str]] = {}
    for update in updates:
        if graph.nodes[update.source.node].op in REFERENCE | RESOURCE:
            averages = found.setdefault(update.source.node, [])
            if update.variable not in averages:
                averages.append(update.variable)
    return found
