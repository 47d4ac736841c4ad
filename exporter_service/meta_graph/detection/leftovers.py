"""What must not be left in a graph that answers requests: state, randomness, other inputs."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from exporter_service.checkpoints.key_list import counted
from exporter_service.meta_graph.detection.feeds import PLACEHOLDERS
from exporter_service.meta_graph.reading.node_graph import NodeGraph
from exporter_service.meta_graph.reading.op_allowance import called_names, reaches_out
from exporter_service.meta_graph.reading.op_defs import is_stateful, registered, takes_reference
from exporter_service.meta_graph.reading.variables import REFERENCE, RESOURCE
from service_kit import errors

# They keep state for the length of one call, or become constants.
_HARMLESS = (
    REFERENCE
    | RESOURCE
    | {"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape",
       "If", "While", "Case", "PartitionedCall", "StatefulPartitionedCall",
       "StackV2", "StackPushV2", "StackPopV2", "Assert"}
)  # fmt: skip
_LOOKUPS = ("LookupTableFind", "LookupTableFindV2")
_MAX_TABLES = 3
_KINDS = {
    "an iterator": ("Iterator", "Dataset", "OptionalGetValue"),
    "a queue or reader": ("Queue", "Reader", "Unstage", "Stage", "Barrier", "RecordInput"),
    "random": ("Random", "Multinomial", "Uniform", "ParameterizedTruncatedNormal", "Stateful"),
    "a lookup table": ("HashTable", "LookupTable", "InitializeTable", "MutableDense"),
    "a Python function, which is not in the file": ("PyFunc", "EagerPyFunc"),
    "an optimizer or an update": ("Apply", "SparseApply", "ResourceApply", "Assign", "Scatter",
                                  "ResourceScatter", "CountUpTo", "ResourceCountUpTo"),
}  # fmt: skip


def refuse_leftovers(graph: NodeGraph, kept: AbstractSet[str] = frozenset()) -> None:
    """Checks a pruned graph whose inputs have been cut.

    Args:
        graph: the graph.
        kept: nodes that may be random, as the user wants.

    Raises:
        Unconvertible: names each node that may not stay, and what it is.
    """
    nodes = list(graph.nodes.values())
    bodies = [
        (f"{name} in function {function}", node)
        for function, definition in graph.library.items()
        for name, node in ((inner.name, inner) for inner in definition.node_def)
    ]
    named = [(node.name, node) for node in nodes] + bodies
    _refuse_unknown(graph, named)
    left = [
        f"{name} ({node.op}, {kind})"
        for name, node in named
        if name not in kept and (kind := _kind(node)) is not None
    ]
    tables = [_around_table(graph, name) for name in graph.of_op(*_LOOKUPS)]
    if tables:
        raise errors.Unconvertible(
            f"{'; '.join(tables[:_MAX_TABLES])}: a lookup table has no place in a frozen graph"
        )
    if left:
        raise errors.Unconvertible(
            f"what still reaches the outputs cannot be served: {counted(left)}; {_advice(left)}"
        )


def refuse_unknown(graph: NodeGraph, names: Iterable[str]) -> None:
    """Checks the ops of some nodes, before what follows from one that is not understood.

    Raises:
        Unconvertible: names those that this TensorFlow does not have.
    """
    _refuse_unknown(graph, ((name, graph.nodes[name]) for name in sorted(names)))


def _refuse_unknown(graph: NodeGraph, named: Iterable[tuple[str, Any]]) -> None:
    unknown = [f"{name} ({node.op})" for name, node in named if not _known(graph, node)]
    if unknown:
        raise errors.Unconvertible(
            "choose outputs before, or inputs behind, the ops that this TensorFlow does not have: "
            f"{counted(unknown)}"
        )


def unregistered(graph: NodeGraph, names: Iterable[str]) -> list[str]:
    """Returns those of some nodes whose op this TensorFlow does not have."""
    return [name for name in names if not _known(graph, graph.nodes[name])]


def _known(graph: NodeGraph, node: Any) -> bool:
    return registered(node.op) or node.op in graph.library


def refuse_everywhere(graph: NodeGraph) -> None:
    """Checks every node and function of a graph that is published as it is.

    What the outputs do not need may still run: by control inputs.

    Raises:
        Unconvertible: names each node that keeps state or reaches out of the graph.
    """
    named = [(node.name, node) for node in graph.nodes.values()]
    named += [
        (f"{inner.name} in function {name}", inner)
        for name, definition in graph.library.items()
        for inner in definition.node_def
    ]
    left = [
        f"{name} ({node.op}, {kind})"
        for name, node in named
        if node.op not in PLACEHOLDERS and (kind := _kind(node)) is not None
    ]
    if left:
        raise errors.Unconvertible(
            f"the graph has what cannot be served: {counted(left)}; freeze it without them"
        )


def _kind(node: Any) -> str | None:
    """Returns what is wrong with a node; None if nothing is."""
    if node.op in PLACEHOLDERS:
        return "a placeholder that is neither an input nor bound"
    changes = takes_reference(node.op) and not node.op.startswith("Ref")
    outside = any(map(reaches_out, (node.op, *called_names(node.attr))))
    if not outside and (_is_harmless(node.op) or not (changes or is_stateful(node.op))):
        return None
    if changes:
        return "an optimizer or an update"
    return next(
        (kind for kind, beginnings in _KINDS.items() if node.op.startswith(beginnings)),
        "reaches files or processes" if outside else "stateful",
    )


def _is_harmless(op: str) -> bool:
    return op in _HARMLESS or op.startswith("TensorArray")


def _around_table(graph: NodeGraph, name: str) -> str:
    """Returns what to say in place of a lookup: the tensor before it, or the one behind it."""
    table, keys = graph.inputs(name)[:2]
    return (
        f"take --output {keys.tensor_name}, which the table {table.node} is asked for, or --input "
        f"{name}:0, which it answers"
    )


def _advice(left: list[str]) -> str:
    text = " ".join(left)
    if "placeholder" in text:
        return "name them as inputs, or bind them to a value"
    if "iterator" in text or "queue" in text:
        return "name the tensors behind them as inputs"
    if "an update" in text:
        return "choose outputs that do not depend on a training step"
    if "random" in text:
        return "choose inputs after the randomness, or outputs before it"
    return "choose inputs after them, or outputs before them"
