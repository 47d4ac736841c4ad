"""Where a net ends: before what training adds, and before anything else is compared with it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from exporter_service.meta_graph.detection.feeds import FEEDS
from exporter_service.meta_graph.reading.node_graph import Consumers, NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import dtype_name, output_types, stated_shape

# What a regression answers with.
_NUMBERS = frozenset(["float16", "bfloat16", "float32", "float64"])
# They change variables, and answer nothing.
_CHANGING = (
    "Assign", "Apply", "ResourceApply", "SparseApply", "ResourceSparseApply", "Scatter",
    "ResourceScatter", "Print", "Assert",
)  # fmt: skip
# Names that TensorFlow 1 gives by itself to what training adds. Only a ranking depends on them.
_TRAINING_SCOPES = frozenset(["gradients", "save", "report_uninitialized_variables"])


def is_training(name: str) -> bool:
    """Whether a node lies where TensorFlow 1 puts gradients and savers; by its name."""
    return any(
        part.rstrip("_0123456789") in _TRAINING_SCOPES for part in name.split("/")[:-1]
    ) or name.startswith("save/")


def before_losses(graph: NodeGraph, consumers: Consumers, trained: AbstractSet[str]) -> list[Port]:
    """Returns what a net gives before anything else is compared with it, and where it ends.

    Regressions, generators and embeddings end in no op of their own. What they are compared with
    comes in by another way.
    """
    feeds = {name: graph.dependents_of_nodes([name]) for name in graph.of_op(*FEEDS)}

    def sources(name: str) -> set[str]:
        return {feed for feed, reached in feeds.items() if name in reached or name == feed}

    found = []
    for name in sorted(trained):
        if is_training(name) or not sources(name) or not _is_number(graph.nodes[name]):
            continue
        users = {user for user, _ in consumers.get(name, ()) if not is_training(user)}
        goes_on = [
            user
            for user in users
            if sources(user) == sources(name) and stated_shape(graph.nodes[user], 0) != []
        ]
        if not goes_on:
            found.append(Port(name))
    # What is made of another one is a comparison, or a measure of it.
    return [
        port
        for port in found
        if graph.ancestors([port]).isdisjoint({one.node for one in found} - {port.node})
    ]


def _is_number(node: Any) -> bool:
    types = output_types(node)
    if not types or node.op.startswith(_CHANGING):
        return False
    return dtype_name(types[0]) in _NUMBERS
