"""Which flags say that the net is training, and what they are in inference.

A flag is a phase when one of its values brings training into the outputs (randomness, batch
statistics) and the other does not: the other is inference, whatever the flag is called and
whichever way round it is meant. A flag that makes no such difference is a setting of the model:
a variable keeps its trained value, a placeholder its default or the user's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.detection.feeds import PLACEHOLDERS
from exporter_service.meta_graph.detection.fused_norm import FUSED, in_training
from exporter_service.meta_graph.reading.constants import constant_value, set_constant
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import UNIFORM, stated_shape
from exporter_service.meta_graph.reading.variables import REFERENCE, RESOURCE
from exporter_service.meta_graph.rewriting.conditions import fold_conditions
from exporter_service.meta_graph.rewriting.pruning import needed

_BOOL = tf.bool.as_datatype_enum
_CONDITIONS = frozenset(["Switch", "RefSwitch", "If", "StatelessIf", "Select", "SelectV2"])
_PREDICATE_FIRST = frozenset(["If", "StatelessIf", "Select", "SelectV2"])
_RANDOM = UNIFORM | {"RandomStandardNormal", "TruncatedNormal", "StatelessRandomNormal"}
_MODE = re.compile(r"train|phase|test|infer|eval|valid|predict|determin|mode")
# Each is tried with both of its values; nets have one or two.
_MAX_FLAGS = 16


def bind_phases(
    graph: NodeGraph, outputs: Sequence[Port], cut: AbstractSet[Port]
) -> dict[str, str]:
    """Binds, in place, every flag that is a phase to its value in inference.

    Returns name -> value as text.
    """
    forward = needed(graph, outputs, set(cut))
    bound: dict[str, str] = {}
    inputs = {port.node for port in cut}
    for name in _flags(graph, forward - inputs)[:_MAX_FLAGS]:
        off, on = (_training_marks(graph, name, value, outputs, cut) for value in (0, 1))
        if off == on:
            continue
        value = 0 if off < on else 1
        _bind(graph, name, value)
        bound[name] = str(bool(value)) if _dtype(graph, name) == _BOOL else str(value)
    return bound


def _flags(graph: NodeGraph, names: AbstractSet[str]) -> list[str]:
    """Returns the scalar placeholders and flag variables that conditions depend on."""
    predicates = []
    for name in names:
        node = graph.nodes[name]
        if node.op in _CONDITIONS:
            position = 0 if node.op in _PREDICATE_FIRST else 1
            port = graph.input(name, position)
            if port is not None:
                predicates.append(port)
    found = []
    for name in sorted(_near(graph, predicates)):
        node = graph.nodes[name]
        is_flag = node.op in PLACEHOLDERS or (
            node.op in REFERENCE | RESOURCE and _dtype(graph, name) == _BOOL
        )
        scalar = node.op in RESOURCE or stated_shape(node, 0) in ([], None)
        if is_flag and scalar and _dtype(graph, name) != tf.string.as_datatype_enum:
            found.append(name)
    return found


def _near(graph: NodeGraph, predicates: Iterable[Port]) -> set[str]:
    """Returns what predicates are computed from, but not what big tensors they look at."""
    return graph.ancestors(predicates, stop=lambda port: graph.op(port) in {"MatMul", "Conv2D"})


def _training_marks(
    graph: NodeGraph, flag: str, value: int, outputs: Sequence[Port], cut: AbstractSet[Port]
) -> int:
    """Counts what only training has among the nodes of the outputs, with the flag fixed."""
    definition = type(graph.definition)()
    definition.CopyFrom(graph.definition)
    trial = NodeGraph(definition)
    _bind(trial, flag, value)
    fold_conditions(trial, needed(trial, outputs, set(cut)))
    nodes = [trial.nodes[n] for n in trial.ancestors(outputs, stop=cut.__contains__)]
    marks = 0
    for node in nodes:
        marks += node.op in _RANDOM or (node.op in FUSED and in_training(trial, node.name))
        marks += node.op == "SquaredDifference" and _is_moment(trial, node.name)
    return marks


def _is_moment(graph: NodeGraph, name: str) -> bool:
    """Whether a difference is to a mean over the first dimension."""
    passing = frozenset(["StopGradient", "Identity", "Squeeze", "Reshape"])
    for port in graph.inputs(name):
        source = graph.through(port, passing)
        if graph.op(source) == "Mean":
            axes = constant_value(graph, graph.inputs(source.node)[1])
            if axes is not None and 0 in axes.reshape(-1):
                return True
    return False


def _bind(graph: NodeGraph, name: str, value: int) -> None:
    node = graph.nodes[name]
    if node.op not in RESOURCE:
        set_constant(graph, name, value=value, dtype=_dtype(graph, name))
        return
    for read in graph.of_op("ReadVariableOp"):
        if graph.inputs(read)[0].node == name:
            set_constant(graph, read, value=value, dtype=_BOOL)


def _dtype(graph: NodeGraph, name: str) -> int:
    return int(graph.nodes[name].attr["dtype"].type)


def bind_defaults(
    graph: NodeGraph, forward: AbstractSet[str], inputs: AbstractSet[str]
) -> dict[str, Any]:
    """Gives, in place, every scalar placeholder with a constant default that default.

    Not one that is called after a mode: its default may well be that of training, so it stays
    and the user is asked.
    """
    done = {}
    for name in sorted(forward - inputs):
        node = graph.nodes[name]
        if node.op != "PlaceholderWithDefault" or _MODE.search(name.rpartition("/")[2].lower()):
            continue
        value = constant_value(graph, graph.inputs(name)[0])
        if value is not None and value.size == 1:
            graph.become_identity(name, graph.inputs(name)[0], node.attr["dtype"].type)
            done[name] = str(value.item())
    return done
