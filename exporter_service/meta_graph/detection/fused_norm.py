"""Fused batch norms: which ops they are, and whether they normalise by the batch."""

from __future__ import annotations

from exporter_service.meta_graph.reading.node_graph import NodeGraph
from exporter_service.meta_graph.reading.variables import variable_of

# Positions of the mean and the variance that inference takes.
_STATISTICS = slice(3, 5)
FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def in_training(graph: NodeGraph, name: str) -> bool:
    """Whether a fused batch norm normalises by the batch; true is the attribute's default."""
    node = graph.nodes[name]
    return "is_training" not in node.attr or bool(node.attr["is_training"].b)


def normalising_variables(graph: NodeGraph) -> set[str]:
    """Returns the variables that fused batch norms take as mean or variance."""
    found = {
        variable_of(graph, port)
        for name in graph.of_op(*FUSED)
        for port in graph.inputs(name)[_STATISTICS]
    }
    return {name for name in found if name is not None}
