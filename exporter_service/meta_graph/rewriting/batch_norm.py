"""Batch norms of a training graph take their moving statistics instead of the batch's.

Which variable holds a statistic is known from the update that fills it (`moving_updates`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.detection.batch_statistics import is_batch_statistic
from exporter_service.meta_graph.detection.fused_norm import FUSED, in_training
from exporter_service.meta_graph.detection.moving_updates import MovingUpdate
from exporter_service.meta_graph.reading.node_graph import Consumers, NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import output_types, stated_shape
from exporter_service.meta_graph.reading.variables import (
    REFERENCE,
    RESOURCE,
    graph_variable,
    read_of,
)

# Outputs of a fused batch norm in training mode.
_BATCH_MEAN, _BATCH_VARIANCE = 1, 2
_MEAN_INPUT, _VARIANCE_INPUT = 3, 4


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
            and is_batch_statistic(graph, source, fed)
        ):
            _replace_statistic(graph, source, variable, consumers, done)
    return done


def _by_source(
    graph: NodeGraph, updates: Sequence[MovingUpdate], done: Switched
) -> dict[Port, str]:
    """Returns statistic -> variable that follows it.

    An average of the tensor itself, as monitoring keeps it, gives way to a variable of the layer.
    """
    candidates: dict[Port, list[str]] = {}
    for update in updates:
        if graph.nodes[update.source.node].op not in REFERENCE | RESOURCE:
            found = candidates.setdefault(update.source, [])
            if update.variable not in found:
                found.append(update.variable)
    chosen = {}
    for source, variables in candidates.items():
        own = [one for one in variables if not one.startswith(f"{source.node}/")]
        best = own or variables
        if len(best) == 1:
            chosen[source] = best[0]
        if len(variables) > 1:
            taken = f"took {best[0]}" if len(best) == 1 else "none was taken"
            done.ambiguous.append(f"{source} is followed by {', '.join(variables)}: {taken}")
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
        value = _reshape(graph, value, shape, variable, types)
    graph.replace(source, value, inside=[name for name, _ in consumers.get(source.node, ())])
    done.unfused.append(str(source))
    done.statistics.add(variable)


def _reshape(
    graph: NodeGraph, value: Port, shape: list[int], variable: str, types: list[int] | None
) -> Port:
    target = graph.add("Const", f"{variable}/inference_shape")
    target.attr["dtype"].type = tf.int32.as_datatype_enum
    target.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.array(shape, np.int32)))
    node = graph.add("Reshape", f"{variable}/inference_reshape", [value, Port(target.name)])
    node.attr["T"].type = types[0] if types else tf.float32.as_datatype_enum
    node.attr["Tshape"].type = tf.int32.as_datatype_enum
    return Port(node.name)
