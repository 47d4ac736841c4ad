"""Batch norms of a training graph take their moving statistics instead of the batch's.

Which variable holds a statistic is known from the update that fills it (`moving_updates`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.constants import constant_value
from exporter_service.meta_graph.moving_updates import MovingUpdate
from exporter_service.meta_graph.node_graph import Consumers, NodeGraph, Port
from exporter_service.meta_graph.op_defs import output_types, stated_shape
from exporter_service.meta_graph.variables import REFERENCE, RESOURCE, graph_variable, read_of

FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
# Outputs of a fused batch norm in training mode.
_BATCH_MEAN, _BATCH_VARIANCE = 1, 2
_MEAN_INPUT, _VARIANCE_INPUT = 3, 4
_SQUARES = frozenset(["SquaredDifference", "Square"])
_PASSING = frozenset(["StopGradient", "Squeeze", "Identity", "Reshape"])


@dataclass(slots=True)
class Switched:
    """What became of the batch norms.

    Attributes:
        fused: fused ones that were switched.
        unfused: statistics, such as moments, that were replaced one by one.
        statistics: variables that are taken now.
        stuck: nodes that still normalise by the batch, each with the reason.
    """

    fused: list[str] = field(default_factory=list)
    unfused: list[str] = field(default_factory=list)
    statistics: set[str] = field(default_factory=set)
    stuck: dict[str, str] = field(default_factory=dict)


def in_training(graph: NodeGraph, name: str) -> bool:
    """Whether a fused batch norm normalises by the batch; true is the attribute's default."""
    node = graph.nodes[name]
    return "is_training" not in node.attr or bool(node.attr["is_training"].b)


def switch_batch_norms(
    graph: NodeGraph, forward: set[str], updates: Sequence[MovingUpdate]
) -> Switched:
    """Switches, in place, every batch norm among `forward` to its moving statistics.

    Args:
        graph: the training graph.
        forward: the nodes that the outputs are computed from.
        updates: all moving averages of the graph.
    """
    done = Switched()
    consumers = graph.consumers()
    statistic_of = _by_source(graph, updates)
    for name in sorted(forward):
        if graph.nodes[name].op in FUSED and in_training(graph, name):
            _switch_fused(graph, name, statistic_of, consumers, done)
    for source, variable in statistic_of.items():
        if graph.nodes[source.node].op not in FUSED and source.node in forward:
            _replace_statistic(graph, source, variable, consumers, done)
    return done


def batch_statistics(graph: NodeGraph, names: set[str], fed: set[str]) -> list[str]:
    """Returns what normalises by the batch among some nodes: a switched net has none.

    That is a fused batch norm in training mode, and a mean over the batch that a variance is
    taken with. Other means over the first dimension may be over time or whatever else lies there.

    Args:
        graph: holds the nodes.
        names: nodes to look at.
        fed: nodes whose values depend on the inputs.
    """
    consumers = graph.consumers()
    return [
        name
        for name in sorted(names & fed)
        if (graph.nodes[name].op in FUSED and in_training(graph, name))
        or (graph.nodes[name].op == "Mean" and _is_moment(graph, name, names, consumers))
    ]


def _is_moment(graph: NodeGraph, name: str, names: set[str], consumers: Consumers) -> bool:
    source, axes = graph.inputs(name)[:2]
    value = constant_value(graph, axes)
    shape = stated_shape(graph.node(source), source.number)
    if value is None or not any(
        axis == 0 or (shape and axis == -len(shape)) for axis in value.reshape(-1).tolist()
    ):
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


def _by_source(graph: NodeGraph, updates: Sequence[MovingUpdate]) -> dict[Port, str]:
    found: dict[Port, str] = {}
    for update in updates:
        if graph.nodes[update.source.node].op not in REFERENCE | RESOURCE:
            # Several averages of one statistic: the first is the layer's own.
            found.setdefault(update.source, update.variable)
    return found


def _switch_fused(
    graph: NodeGraph,
    name: str,
    statistic_of: Mapping[Port, str],
    consumers: Consumers,
    done: Switched,
) -> None:
    node = graph.nodes[name]
    mean = statistic_of.get(Port(name, _BATCH_MEAN))
    variance = statistic_of.get(Port(name, _BATCH_VARIANCE))
    if mean is None or variance is None:
        done.stuck[name] = (
            "it normalises by the batch, and no update of moving statistics takes its "
            + ("mean" if mean is None else "variance")
        )
        return
    for position, variable in ((_MEAN_INPUT, mean), (_VARIANCE_INPUT, variance)):
        node.input[position] = str(read_of(graph, variable, consumers))
    node.attr["is_training"].b = False
    # Only training has use for it, and inference insists on its default.
    if "exponential_avg_factor" in node.attr:
        del node.attr["exponential_avg_factor"]
    done.fused.append(name)
    done.statistics |= {mean, variance}


def _replace_statistic(
    graph: NodeGraph, source: Port, variable: str, consumers: Consumers, done: Switched
) -> None:
    described = graph_variable(graph, variable)
    value = read_of(graph, variable, consumers)
    types = output_types(graph.node(source))
    if types and types[source.number] != described.dtype:
        cast = graph.add("Cast", f"{variable}/inference_cast", [value])
        cast.attr["SrcT"].type, cast.attr["DstT"].type = described.dtype, types[source.number]
        value = Port(cast.name)
    shape = stated_shape(graph.node(source), source.number)
    if (
        shape is not None
        and described.shape is not None
        and list(described.shape) != shape
        and math.prod(shape) == math.prod(described.shape)
        and min(shape, default=1) >= 0
    ):
        value = _reshaped(graph, value, shape, variable, types)
    graph.replace(source, value, inside=[name for name, _ in consumers.get(source.node, ())])
    done.unfused.append(str(source))
    done.statistics.add(variable)


def _reshaped(
    graph: NodeGraph, value: Port, shape: list[int], variable: str, types: list[int] | None
) -> Port:
    target = graph.add("Const", f"{variable}/inference_shape")
    target.attr["dtype"].type = tf.int32.as_datatype_enum
    target.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.array(shape, np.int32)))
    node = graph.add("Reshape", f"{variable}/inference_reshape", [value, Port(target.name)])
    node.attr["T"].type = types[0] if types else tf.float32.as_datatype_enum
    node.attr["Tshape"].type = tf.int32.as_datatype_enum
    return Port(node.name)
