"""Which nodes change which variable of a training graph, those inside of calls included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from exporter_service.meta_graph.reading.inlining import inline_call
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import output_types, reference_inputs
from exporter_service.meta_graph.reading.variables import RESOURCE, variable_of

# They take a variable and leave it as it is, or pass it on.
READS = frozenset(
    ["Identity", "RefIdentity", "ReadVariableOp", "ResourceGather", "ResourceGatherNd",
     "VariableShape", "VarIsInitializedOp", "IsVariableInitialized", "Switch", "RefSwitch", "Enter",
     "RefEnter", "Exit", "RefExit", "Merge", "RefMerge", "RefNextIteration", "NextIteration",
     "RefSelect", "IdentityN"]
)  # fmt: skip
SWITCHES = frozenset(["Switch", "RefSwitch"])
_CALLS = frozenset(["PartitionedCall", "StatefulPartitionedCall"])
_CONDITIONS = frozenset(["If", "StatelessIf"])
_LOOPS = frozenset(["While", "StatelessWhile", "Case", "StatelessCase"])
# DT_RESOURCE of tensorflow/core/framework/types.proto.
_RESOURCE_TYPE = 20
_MAX_ROUNDS = 64


@dataclass(frozen=True, slots=True)
class Assignment:
    """One node that changes a variable.

    Attributes:
        variable: what is changed.
        node: what changes it.
        values: what it takes beside variables.
        first: the variable that the node is about; another one for a slot of an optimizer's op.
    """

    variable: str
    node: str
    values: tuple[Port, ...]
    first: str


def assignments(
    graph: NodeGraph, names: Iterable[str] | None = None
) -> Mapping[str, list[Assignment]]:
    """Returns variable -> what changes it, among some nodes or all. See `with_bodies`."""
    found: dict[str, list[Assignment]] = {}
    for name in graph.nodes if names is None else names:
        targets = list(_targets(graph, name))
        if not targets:
            continue
        positions = {position for position, _ in targets}
        values = tuple(
            port for place, port in enumerate(graph.inputs(name)) if place not in positions
        )
        for _, variable in targets:
            one = Assignment(variable, name, values, targets[0][1])
            found.setdefault(variable, []).append(one)
    return found


def _targets(graph: NodeGraph, name: str) -> Iterator[tuple[int, str]]:
    op = graph.nodes[name].op
    if op in READS or op in _CALLS | _CONDITIONS:
        return
    inner = _changed_inside(graph, name) if op in _LOOPS else None
    references = reference_inputs(op)
    for position, port in enumerate(graph.inputs(name)):
        variable = variable_of(graph, port)
        if variable is None or (inner is not None and position not in inner):
            continue
        # What was read of a resource is a value, and no handle.
        if position in references or is_handle(graph, port):
            yield position, variable


def is_handle(graph: NodeGraph, port: Port) -> bool:
    """Whether a port passes on a resource variable itself, and not its value."""
    while graph.op(port) in {"Switch", "Enter", "Identity"}:
        port = graph.inputs(port.node)[0]
    return graph.op(port) in RESOURCE


def _changed_inside(graph: NodeGraph, name: str) -> set[int]:
    """Returns which inputs of a loop or case are changed in one of its functions."""
    shift = 1 if graph.nodes[name].op.endswith("Case") else 0
    return {
        place + shift
        for function in _functions(graph.nodes[name])
        for place in _changed_arguments(graph, function, frozenset())
    }


def _changed_arguments(graph: NodeGraph, name: str, above: frozenset[str]) -> set[int]:
    definition = graph.library.get(name)
    if definition is None or name in above:
        return set()
    places = {arg.name: place for place, arg in enumerate(definition.signature.input_arg)}
    handles = {arg.name for arg in definition.signature.input_arg if arg.type == _RESOURCE_TYPE}
    found = set()
    for node in definition.node_def:
        inner = [text.partition(":")[0] for text in node.input if not text.startswith("^")]
        nested = list(_functions(node))
        changed = {
            place for one in nested for place in _changed_arguments(graph, one, above | {name})
        }
        for place, text in enumerate(inner):
            skipped = place - (node.op in _CONDITIONS or node.op.endswith("Case"))
            if text in handles and node.op not in READS and (not nested or skipped in changed):
                found.add(places[text])
    return found


def _functions(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        for one in (*([value.func] if value.HasField("func") else ()), *value.list.func):
            yield one.name


def with_bodies(graph: NodeGraph, names: AbstractSet[str]) -> NodeGraph:
    """Returns a graph in which calls and conditions are written out where they matter.

    Those are given a variable, or make what some variables are assigned. A condition becomes what
    TensorFlow 1 made of it: what it takes passes a Switch. The graph itself is returned when
    there is nothing to do, and is never changed.

    Args:
        graph: the training graph.
        names: the variables.

    Raises:
        MetaGraphUnusable: a function is absent, or calls itself.
    """
    if not _to_write_out(graph, names):
        return graph
    definition = type(graph.definition)()
    definition.CopyFrom(graph.definition)
    copy = NodeGraph(definition)
    for _ in range(_MAX_ROUNDS):
        found = _to_write_out(copy, names)
        if not found:
            break
        passed: dict[Port, Port] = {}
        for name in found:
            node = copy.nodes[name]
            if node.op in _CONDITIONS:
                _write_out(copy, name)
            else:
                passed |= inline_call(copy, name, node.attr["f"].func.name, copy.inputs(name))
        copy.replace_all(passed)
    return copy


def _to_write_out(graph: NodeGraph, names: AbstractSet[str]) -> list[str]:
    calls = list(graph.of_op(*_CALLS, *_CONDITIONS))
    if not calls:
        return []
    found = assignments(graph)
    making = graph.ancestors(Port(one.node) for name in names for one in found.get(name, ()))
    return [
        name
        for name in calls
        if name in making or any(is_handle(graph, port) for port in graph.inputs(name))
    ]


def _write_out(graph: NodeGraph, name: str) -> None:
    """Puts both branches of a condition beside each other, merged under its name."""
    node = graph.nodes[name]
    predicate, *taken = graph.inputs(name)
    branches = [node.attr[key].func.name for key in ("else_branch", "then_branch")]
    types = list(node.attr["Tout"].list.type)
    given = []
    for port in taken:
        switch = graph.add("Switch", f"{name}/switch", [port, predicate])
        kinds = output_types(graph.node(port)) if port.node in graph.nodes else None
        switch.attr["T"].type = kinds[port.number] if kinds else 0
        given.append(switch.name)
    results = []
    for side, function in enumerate(branches):
        call = graph.add("PartitionedCall", f"{name}/{('else', 'then')[side]}")
        arguments = [Port(one, side) for one in given]
        call.input.extend(map(str, arguments))
        results.append(inline_call(graph, call.name, function, arguments))
        results[-1] = {Port(name, port.number): one for port, one in results[-1].items()}
    merges = []
    for number, kind in enumerate(types):
        sides = []
        for side, one in enumerate(results):
            # Also what a branch takes nothing for depends on the condition.
            switch = graph.add("Switch", f"{name}/result", [one[Port(name, number)], predicate])
            switch.attr["T"].type = kind
            sides.append(Port(switch.name, side))
        merge = graph.add("Merge", f"{name}/merge", sides)
        merge.attr["T"].type = kind
        merges.append(Port(merge.name))
    node.op = "IdentityN" if merges else "NoOp"
    del node.input[:]
    node.input.extend(map(str, merges))
    node.attr.clear()
    graph.replace_all({Port(name, number): port for number, port in enumerate(merges)})
