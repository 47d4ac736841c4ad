"""Moving averages as a training graph computes them, found by data flow and never by name.

Whatever wrote it, a moving average is an assignment to a variable S of a mixture of S itself and
one other tensor V: `S -= (S - V) * (1 - decay)`, `S = S * decay + V * (1 - decay)`, with or
without a bias correction. When V is a statistic of the batch, S is what inference takes in its
place; when V is a variable, S is its shadow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter_service.meta_graph.node_graph import NodeGraph, Port
from exporter_service.meta_graph.variables import REFERENCE, RESOURCE, variable_of

_ASSIGNS = (
    "Assign", "AssignAdd", "AssignSub",
    "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp",
)  # fmt: skip
# What mixtures are made of.
_ARITHMETIC = frozenset(
    ["Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Div", "Neg", "Identity", "IdentityN", "Cast",
     "Squeeze", "Reshape", "ExpandDims", "StopGradient", "Pow", "Minimum", "Maximum", "Select",
     "SelectV2", "Merge", "RefMerge", "Switch", "RefSwitch", "Enter", "Exit", "Fill", "Reciprocal",
     "CheckNumerics", "ReadVariableOp"]
)  # fmt: skip
# Their values are sizes, not statistics.
_SIZES = frozenset(["Shape", "ShapeN", "Size", "Rank", "Const", "Placeholder",
                    "PlaceholderWithDefault", "ZerosLike", "OnesLike"])  # fmt: skip
_DIVISIONS = frozenset(["RealDiv", "Div", "Reciprocal"])
# Of these only the first input is a value that is passed on.
_FIRST_INPUT = frozenset(["Reshape", "Switch", "RefSwitch", "Cast", "Squeeze", "ExpandDims"])


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
    reads_itself: bool = False
    unclear: bool = False
    # Other variables whose update the value takes part of, as a bias correction does.
    chained: set[str] = field(default_factory=set)
    # Other variables that it reads, and whether it divides: a bias correction does both.
    reads: set[str] = field(default_factory=set)
    divides: bool = False


def moving_updates(graph: NodeGraph, forward: set[str]) -> list[MovingUpdate]:
    """Returns every moving average of a tensor that the forward computation has.

    Args:
        graph: the training graph, its updates included.
        forward: the nodes that the outputs are computed from, as in training.
    """
    found: list[MovingUpdate] = []
    derived: list[tuple[str, str, _Cone]] = []
    chained: set[str] = set()
    for name in graph.of_op(*_ASSIGNS):
        target, value = graph.inputs(name)[:2]
        variable = variable_of(graph, target)
        # What the forward computation reads is a weight, and its updates are training's.
        if variable is None or variable in forward:
            continue
        cone = _cone(graph, variable, value, forward)
        if not cone.unclear and cone.reads_itself and len(cone.sources) == 1:
            found.append(MovingUpdate(variable, cone.sources.pop(), name))
            chained |= cone.chained
        elif not cone.unclear and not cone.sources and cone.divides:
            derived.append((variable, name, cone))
    source_of = {update.variable: update.source for update in found}
    for variable, name, cone in derived:
        # `S = B / (1 - decay ** steps)`: S follows what B follows.
        biased = cone.reads & source_of.keys()
        if len(biased) == 1:
            found.append(MovingUpdate(variable, source_of[min(biased)], name))
            chained |= biased
    return [update for update in found if update.variable not in chained]


def _cone(graph: NodeGraph, variable: str, value: Port, forward: set[str]) -> _Cone:
    cone, seen, waiting = _Cone(), set[Port](), [value]
    while waiting:
        port = waiting.pop()
        if port not in seen:
            seen.add(port)
            waiting.extend(_before(graph, variable, port, forward, cone))
    return cone


def _before(
    graph: NodeGraph, variable: str, port: Port, forward: set[str], cone: _Cone
) -> list[Port]:
    """Takes note of a port, and returns what it is computed from as far as that matters."""
    read = variable_of(graph, port)
    op = graph.op(port)
    if read is not None:
        cone.reads_itself |= read == variable
        cone.reads.add(read)
        if read != variable and read in forward:
            cone.sources.add(Port(read))
        return []
    if op in _SIZES:
        return []
    if port.node in forward:
        cone.sources.add(port)
        return []
    inputs = graph.inputs(port.node) if port.node in graph.nodes else []
    if op in _ASSIGNS:
        other = variable_of(graph, inputs[0])
        if other is not None:
            cone.chained.add(other)
        return inputs[1:2]
    if op in _ARITHMETIC:
        cone.divides |= op in _DIVISIONS
        return inputs[:1] if op in _FIRST_INPUT else inputs
    cone.unclear = True
    return []


def shadows(graph: NodeGraph, updates: list[MovingUpdate]) -> dict[str, str]:
    """Returns variable -> the variable that is its moving average, among some updates."""
    return {
        update.source.node: update.variable
        for update in updates
        if graph.nodes[update.source.node].op in REFERENCE | RESOURCE
    }
