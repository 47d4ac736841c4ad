"""Batch norms of a training graph take their moving statistics instead of the batch's.

Which variable holds a statistic is known from the update that fills it (`moving_updates`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

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
_REDUCTIONS = frozenset(["Mean", "Sum"])
_ELEMENTWISE = _PASSING | {
    "Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "Square", "SquaredDifference", "Sqrt", "Rsqrt",
    "Neg", "Cast", "ExpandDims", "Maximum", "Minimum", "Reciprocal", "Merge", "Switch", "Abs",
    "Relu", "Pow", "AddN", "IdentityN",
}  # fmt: skip


@dataclass(slots=True)
class Switched:
    """What became of the batch norms.

    Attributes:
        fused: fused ones that were switched.
        unfused: statistics, such as moments, that were replaced one by one.
        statistics: variables that are taken now.
        stuck: nodes that still normalise by the batch, each with the reason.
        ambiguous: statistics that several variables follow, and which of them was taken.
    """

    fused: list[str] = field(default_factory=list)
    unfused: list[str] = field(default_factory=list)
    statistics: set[str] = field(default_factory=set)
    stuck: dict[str, str] = field(default_factory=dict)
    ambiguous: list[str] = field(default_factory=list)


def in_training(graph: NodeGraph, name: str) -> bool:
    """Whether a fused batch norm normalises by the batch; true is the attribute's default."""
    node = graph.nodes[name]
    return "is_training" not in node.attr or bool(node.attr["is_training"].b)


def training_forward(graph: NodeGraph, outputs: Iterable[Port], cut: AbstractSet[Port]) -> set[str]:
    """Returns the nodes that the outputs' values come from in training.

    A fused batch norm in training mode is often given its moving statistics as well, and takes
    no notice of them: they are not followed.
    """
    found: set[str] = set()
    waiting = [port for port in outputs if port not in cut]
    while waiting:
        name = waiting.pop().node
        if name in found or name not in graph.nodes:
            continue
        found.add(name)
        inputs = graph.inputs(name)
        if graph.nodes[name].op in FUSED and in_training(graph, name):
            inputs = inputs[:_MEAN_INPUT]
        waiting.extend(port for port in inputs if port not in cut)
    return found


def switch_batch_norms(
    graph: NodeGraph, forward: set[str], fed: AbstractSet[str], updates: Sequence[MovingUpdate]
) -> Switched:
    """Switches, in place, every batch norm among `forward` to its moving statistics.

    Args:
        graph: the training graph.
        forward: the nodes that the outputs are computed from, as in training.
        fed: nodes whose values depend on an input.
        updates: all moving averages of the graph.
    """
    done = Switched()
    consumers = graph.consumers()
    statistic_of = _by_source(graph, updates, done)
    for name in sorted(forward):
        if graph.nodes[name].op in FUSED and in_training(graph, name):
            _switch_fused(graph, name, statistic_of, consumers, done)
    for source, variable in statistic_of.items():
        if (
            graph.nodes[source.node].op not in FUSED
            and source.node in forward & fed
            and _is_batch_statistic(graph, source, fed)
        ):
            _replace_statistic(graph, source, variable, consumers, done)
    return done


def _is_batch_statistic(graph: NodeGraph, source: Port, fed: AbstractSet[str]) -> bool:
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
        elif op in _ELEMENTWISE:
            waiting.extend(graph.inputs(port.node))
        else:
            return False
    return True


def _has_batch(graph: NodeGraph, source: Port, axes: np.ndarray[Any, Any]) -> bool:
    shape = stated_shape(graph.node(source), source.number)
    return any(axis == 0 or (shape and axis == -len(shape)) for axis in axes.reshape(-1).tolist())


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


def _shared_scopes(one: str, other: str) -> int:
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _by_source(
    graph: NodeGraph, updates: Sequence[MovingUpdate], done: Switched
) -> dict[Port, str]:
    """Returns statistic -> variable that follows it; of several, the one in the layer's scope."""
    candidates: dict[Port, list[str]] = {}
    for update in updates:
        if graph.nodes[update.source.node].op not in REFERENCE | RESOURCE:
            found = candidates.setdefault(update.source, [])
            if update.variable not in found:
                found.append(update.variable)
    chosen = {}
    for source, variables in candidates.items():
        best = max(variables, key=lambda name: _shared_scopes(name, source.node))
        chosen[source] = best
        if len(variables) > 1:
            done.ambiguous.append(f"{source} is followed by {', '.join(variables)}: took {best}")
    return chosen


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
