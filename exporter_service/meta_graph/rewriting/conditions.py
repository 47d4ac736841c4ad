"""Conditions whose predicate is fixed: the branch that is taken stays, the other goes.

TensorFlow 1 writes a condition as Switch and Merge, later releases as an `If` with two
functions. Both are resolved here once their predicate depends on constants alone.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.reading.constants import (
    constant_bool,
    constant_value,
    set_constant,
)
from exporter_service.meta_graph.reading.inlining import inline_call
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port, port_of

_INITIALIZED = ("IsVariableInitialized", "VarIsInitializedOp")
_SWITCHES = ("Switch", "RefSwitch")
_MERGES = ("Merge", "RefMerge")
_IFS = ("If", "StatelessIf")
_SUMS = ("Add", "AddV2")
_SELECTS = ("Select", "SelectV2")


def fold_conditions(graph: NodeGraph, forward: AbstractSet[str]) -> int:
    """Resolves, in place, every condition with a fixed predicate; returns how many nodes.

    Args:
        graph: the training graph.
        forward: the nodes of the outputs, where variables count as initialised and products
            with 0 as nothing. Elsewhere nobody would thank us for the search.
    """
    folded = 0
    for name in set(graph.of_op(*_INITIALIZED)) & forward:
        # Inference begins with restored values.
        set_constant(graph, name, value=True, dtype=tf.bool.as_datatype_enum)
        folded += 1
    while changed := (
        _fold_functions(graph)
        + _fold_switches(graph)
        + _fold_selects(graph)
        + _fold_zeros(graph, forward)
    ):
        folded += changed
    return folded


def _fold_zeros(graph: NodeGraph, forward: AbstractSet[str]) -> int:
    """Lets sums pass on what is not multiplied by 0: `t * batch + (1 - t) * moving` with t = 0."""
    zeros = {
        name
        for name in graph.of_op("Mul")
        if name in forward and any(_is_zero(graph, port) for port in graph.inputs(name))
    }
    folded = 0
    for name in graph.of_op(*_SUMS):
        left, right = graph.inputs(name)
        if left.node in zeros and right.node not in zeros:
            left, right = right, left
        if right.node in zeros and left.node not in zeros:
            graph.become_identity(name, left, graph.nodes[name].attr["T"].type)
            folded += 1
    return folded


def _is_zero(graph: NodeGraph, port: Port) -> bool:
    value = constant_value(graph, port)
    return value is not None and value.size == 1 and not value.any()


def _fold_functions(graph: NodeGraph) -> int:
    known: dict[Port, bool | None] = {}
    passed: dict[Port, Port] = {}
    folded = 0
    for name in graph.of_op(*_IFS):
        predicate = graph.input(name, 0)
        taken = None if predicate is None else _truth(graph, predicate, known)
        if taken is not None:
            branch = "then_branch" if taken else "else_branch"
            function = graph.nodes[name].attr[branch].func.name
            passed |= inline_call(graph, name, function, graph.inputs(name)[1:])
            folded += 1
    graph.replace_all(passed)
    return folded


def _fold_selects(graph: NodeGraph) -> int:
    known: dict[Port, bool | None] = {}
    folded = 0
    for name in graph.of_op(*_SELECTS):
        condition, yes, no = graph.inputs(name)
        taken = _truth(graph, condition, known)
        if taken is not None:
            graph.become_identity(name, yes if taken else no, graph.nodes[name].attr["T"].type)
            folded += 1
    return folded


def _fold_switches(graph: NodeGraph) -> int:
    known: dict[Port, bool | None] = {}
    taken: dict[str, bool] = {}
    for name in graph.of_op(*_SWITCHES):
        predicate = graph.input(name, 1)
        truth = None if predicate is None else _truth(graph, predicate, known)
        if truth is not None:
            taken[name] = truth
    if not taken:
        return 0
    dead_ports = {Port(name, 0 if truth else 1) for name, truth in taken.items()}
    dead = _unreachable(graph, dead_ports)
    for name in graph.of_op(*_MERGES):
        live = [p for p in graph.inputs(name) if p not in dead_ports and p.node not in dead]
        if len(live) == 1 and len(graph.inputs(name)) > 1:
            graph.become_identity(name, live[0], graph.nodes[name].attr["T"].type)
    consumers = graph.consumers()
    for name, truth in taken.items():
        source = graph.inputs(name)[0]
        graph.become_identity(name, source, graph.nodes[name].attr["T"].type)
        if truth:
            users = [user for user, _ in consumers.get(name, ()) if user in graph.nodes]
            graph.replace(Port(name, 1), Port(name), inside=users)
    for name in dead:
        del graph.nodes[name]
    return len(taken)


def _truth(graph: NodeGraph, port: Port, known: dict[Port, bool | None]) -> bool | None:
    if port not in known:
        known[port] = constant_bool(graph, port)
    return known[port]


def _unreachable(graph: NodeGraph, dead_ports: set[Port]) -> set[str]:
    """Returns the nodes that never run; a merge runs as long as one of its inputs does."""
    waiting_for: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        for text in node.input:
            source = text[1:] if text.startswith("^") else port_of(text).node
            waiting_for.setdefault(source, []).append(name)
    dead: set[str] = set()
    changed = [name for port in dead_ports for name in waiting_for.get(port.node, ())]
    while changed:
        name = changed.pop()
        if name in dead or name not in graph.nodes:
            continue
        node = graph.nodes[name]
        gone = [_is_dead(text, dead, dead_ports) for text in node.input]
        if all(gone) if node.op in _MERGES else any(gone):
            dead.add(name)
            changed.extend(waiting_for.get(name, ()))
    return dead


def _is_dead(text: str, dead: set[str], dead_ports: set[Port]) -> bool:
    if text.startswith("^"):
        return text[1:] in dead
    port = port_of(text)
    return port in dead_ports or port.node in dead
