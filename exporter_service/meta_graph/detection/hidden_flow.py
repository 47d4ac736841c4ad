"""Values that travel through a variable: assigned from the input, and read after that.

Only a control input ties such a read to its assignment. Pruning drops it, and the read would
give what the checkpoint holds.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from exporter_service.checkpoints.key_list import counted
from exporter_service.meta_graph.reading.node_graph import NodeGraph
from exporter_service.meta_graph.reading.op_defs import takes_reference
from exporter_service.meta_graph.reading.variables import RESOURCE, variable_of
from service_kit import errors

# They take a variable and leave it as it is.
_READS = frozenset(
    ["Identity", "RefIdentity", "ReadVariableOp", "ResourceGather", "ResourceGatherNd",
     "VariableShape", "VarIsInitializedOp", "IsVariableInitialized", "Switch", "RefSwitch", "Enter",
     "RefEnter"]
)  # fmt: skip


def refuse_hidden_flow(
    graph: NodeGraph,
    forward: AbstractSet[str],
    fed: AbstractSet[str],
    others: AbstractSet[str],
) -> None:
    """Checks the reads of variables among the nodes of the outputs.

    Args:
        graph: the training graph.
        forward: the nodes that the outputs are computed from.
        fed: nodes whose values depend on an input.
        others: variables that only training changes: its moving averages, and the weights.

    Raises:
        Unconvertible: names reads that must see what was assigned from an input.
    """
    found = []
    for name in sorted(forward):
        if not graph.controls(name):
            continue
        read = {variable_of(graph, port) for port in graph.inputs(name)} - {None, *others}
        if not read:
            continue
        waited_for = _waited_for(graph, name)
        found += [
            f"{name} (of {variable})"
            for variable in sorted(map(str, read))
            if any(_changes(graph, one, variable, fed) for one in waited_for)
        ]
    if found:
        raise errors.Unconvertible(
            f"values pass from the input through a variable: {counted(found)} must see what was "
            "assigned just before, and a frozen graph assigns nothing; choose inputs after them, "
            "outputs before them, or --keep-stored NAME to take the value in the checkpoint"
        )


def _waited_for(graph: NodeGraph, name: str) -> set[str]:
    """Returns everything that has run when a node's control inputs are satisfied."""
    found: set[str] = set()
    waiting = graph.controls(name)
    while waiting:
        one = waiting.pop()
        if one not in found and one in graph.nodes:
            found.add(one)
            waiting += graph.controls(one)
            waiting += [port.node for port in graph.inputs(one)]
    return found


def _changes(graph: NodeGraph, name: str, variable: str, fed: AbstractSet[str]) -> bool:
    """Whether a node takes a variable, is no read, and takes something from the input, too."""
    if graph.nodes[name].op in _READS:
        return False
    inputs = graph.inputs(name)
    takes = takes_reference(graph.nodes[name].op) or any(
        graph.op(port) in RESOURCE for port in inputs[:1]
    )
    return (
        takes
        and bool(inputs)
        and variable_of(graph, inputs[0]) == variable
        and any(port.node in fed for port in inputs[1:])
    )
