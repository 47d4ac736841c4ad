"""What depends on the whole batch: statistics that moving ones replace, and what is left."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from exporter_service.meta_graph.detection.fused_norm import FUSED, in_training
from exporter_service.meta_graph.reading.constants import constant_value
from exporter_service.meta_graph.reading.node_graph import Consumers, NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import registered, stated_shape

_SQUARES = frozenset(["SquaredDifference", "Square"])
_PASSING = frozenset(["StopGradient", "Squeeze", "Identity", "Reshape"])
_COLLECTIVES = frozenset(["NcclAllReduce", "CollectiveReduce", "CollectiveReduceV2"])
_SIZES = frozenset(["Shape", "ShapeN", "Size", "Rank"])
_REDUCTIONS = frozenset(["Mean", "Sum"])
_ELEMENTWISE = _PASSING | {
    "Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "Square", "SquaredDifference", "Sqrt", "Rsqrt",
    "Neg", "Cast", "ExpandDims", "Maximum", "Minimum", "Reciprocal", "Merge", "Switch", "Abs",
    "Relu", "Pow", "AddN", "IdentityN", "StridedSlice", "Prod", "GatherV2", "Pack",
}  # fmt: skip


def batch_statistics(
    graph: NodeGraph, names: set[str], fed: set[str], batches: AbstractSet[int]
) -> list[str]:
    """Returns what normalises by the batch among some nodes: a switched net has none.

    That is a fused batch norm in training mode, and a mean over the batch that a variance is
    taken with. Other means over the first dimension may be over time or whatever else lies there.

    Args:
        graph: holds the nodes.
        names: nodes to look at.
        fed: nodes whose values depend on the inputs.
        batches: first dimensions of the inputs, -1: any.
    """
    consumers = graph.consumers()
    return [
        name
        for name in sorted(names & fed)
        if (graph.nodes[name].op in FUSED and in_training(graph, name))
        or (graph.nodes[name].op == "Mean" and _is_moment(graph, name, names, consumers, batches))
    ]


def _is_moment(
    graph: NodeGraph, name: str, names: set[str], consumers: Consumers, batches: AbstractSet[int]
) -> bool:
    source, axes = graph.inputs(name)[:2]
    value = constant_value(graph, axes)
    shape = stated_shape(graph.node(source), source.number)
    # What has another first dimension than the inputs, or several open ones, may have time or
    # an example's own rows there. The proof will tell.
    if value is None or not shape or shape[0] not in batches or -1 in shape[1:]:
        return False
    if not _has_batch(graph, source, value) or _in_loop(graph, source):
        return False
    if graph.op(source) in _SQUARES:
        return True
    waiting = [name]
    while waiting:
        for user, _ in consumers.get(waiting.pop(), ()):
            if user in names and graph.nodes[user].op == "SquaredDifference":
                return True
            if user in names and graph.nodes[user].op in _PASSING:
                waiting.append(user)
    return False


def _in_loop(graph: NodeGraph, port: Port) -> bool:
    ops = {graph.nodes[name].op for name in graph.ancestors([port])}
    return bool(ops & {"LoopCond", "TensorArrayReadV3", "TensorArrayRead", "TensorArrayReadV2"})


def is_batch_statistic(graph: NodeGraph, source: Port, fed: AbstractSet[str]) -> bool:
    """Whether everything that a tensor takes from the inputs has been reduced over the batch."""
    seen, waiting = set[str](), [source]
    while waiting:
        port = waiting.pop()
        if port.node in seen or port.node not in fed:
            continue
        seen.add(port.node)
        op = graph.op(port)
        if op in _REDUCTIONS:
            axes = constant_value(graph, graph.inputs(port.node)[1])
            if axes is None or not _has_batch(graph, graph.inputs(port.node)[0], axes):
                return False
        elif op in _SIZES:
            continue
        elif op in _ELEMENTWISE or op in _COLLECTIVES or not registered(op):
            # Somebody's library adds up statistics of several machines: they stay statistics.
            waiting.extend(graph.inputs(port.node))
        else:
            return False
    return True


def _has_batch(graph: NodeGraph, source: Port, axes: np.ndarray[Any, Any]) -> bool:
    shape = stated_shape(graph.node(source), source.number)
    return any(axis == 0 or (shape and axis == -len(shape)) for axis in axes.reshape(-1).tolist())
