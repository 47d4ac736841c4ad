"""Values that travel through a variable: assigned from the input, and read after that.

Only a control input ties such a read to its assignment. Pruning drops it, and the read would
give what the checkpoint holds.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from exporter_service.key_list import counted
from exporter_service.meta_graph.node_graph import NodeGraph
from exporter_service.meta_graph.variables import variable_of
from service_kit import errors

_ASSIGNS = frozenset(
    ["Assign", "AssignAdd", "AssignSub", "AssignVariableOp", "AssignAddVariableOp",
     "AssignSubVariableOp"]
)  # fmt: skip
_READS = frozenset(["Identity", "ReadVariableOp"])
_MOST_CONTROLS = 200


def refuse_hidden_flow(
    graph: NodeGraph, forward: AbstractSet[str], fed: AbstractSet[str], averages: AbstractSet[str]
) -> None:
    """Checks the reads of variables among the nodes of the outputs.

    Args:
        graph: the training graph.
        forward: the nodes that the outputs are computed from.
        fed: nodes whose values depend on an input.
        averages: variables whose updates are moving averages, which inference must not run.

    Raises:
        Unconvertible: names reads that must see what was assigned from an input.
    """
    found = []
    for name in sorted(forward):
        node = graph.nodes[name]
        if node.op not in _READS or not graph.controls(name):
            continue
        variable = variable_of(graph, graph.inputs(name)[0])
        if variable is None or variable in averages:
            continue
        if any(_assigns(graph, one, variable, fed) for one in _waited_for(graph, name)):
            found.append(f"{name} (of {variable})")
    if found:
        raise errors.Unconvertible(
            f"values pass from the input through a variable: {counted(found)} must see what was "
            "assigned just before, and a frozen graph assigns nothing; choose inputs after them, "
            "or outputs before them"
        )


def _waited_for(graph: NodeGraph, name: str) -> set[str]:
    """Returns what a node waits for, through groups of nothing else."""
    found: set[str] = set()
    waiting = graph.controls(name)
    while waiting and len(found) < _MOST_CONTROLS:
        one = waiting.pop()
        if one in found or one not in graph.nodes:
            continue
        found.add(one)
        if graph.nodes[one].op in {"NoOp", "Identity"}:
            waiting += graph.controls(one)
            waiting += [port.node for port in graph.inputs(one)]
    return found


def _assigns(graph: NodeGraph, name: str, variable: str, fed: AbstractSet[str]) -> bool:
    if graph.nodes[name].op not in _ASSIGNS:
        return False
    target, value = graph.inputs(name)[:2]
    return variable_of(graph, target) == variable and value.node in fed
