"""Fused batch norms: which ops they are, and whether they normalise by the batch."""

from __future__ import annotations

from exporter_service.meta_graph.node_graph import NodeGraph

FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def in_training(graph: NodeGraph, name: str) -> bool:
    """Whether a fused batch norm normalises by the batch; true is the attribute's default."""
    node = graph.nodes[name]
    return "is_training" not in node.attr or bool(node.attr["is_training"].b)
