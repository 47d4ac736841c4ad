"""Variables that begin every request with the value of their initializer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.detection.assignments import assignments, is_handle
from exporter_service.meta_graph.detection.feeds import Feed
from exporter_service.meta_graph.detection.variable_state import Decision
from exporter_service.meta_graph.reading.constants import constant_value
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port, port_of
from exporter_service.meta_graph.reading.variables import (
    RESOURCE,
    graph_variable,
    initial_values,
    read_of,
    variable_of,
)
from exporter_service.meta_graph.rewriting.fixed_batch import repeat_rows
from service_kit import errors

_SUMS = {"AssignAdd": "AddV2", "AssignAddVariableOp": "AddV2",
         "AssignSub": "Sub", "AssignSubVariableOp": "Sub"}  # fmt: skip
_VALUES = frozenset(["Assign", "AssignVariableOp"])
_READS = frozenset(["Identity", "ReadVariableOp"])
# A state has a row for each example; this is no place for tables.
_MAX_ELEMENTS = 100_000_000


def begin_anew(
    graph: NodeGraph, meta: Any, names: Iterable[str]
) -> dict[str, np.ndarray[Any, Any]]:
    """Gives, in place, some variables the value of their initializer; returns the values.

    Args:
        graph: the graph that is being switched.
        meta: the MetaGraphDef, which says how its variables are initialised.
        names: the variables.

    Raises:
        Unconvertible: an initializer is random, depends on an input, or is not known.
    """
    values = {name: initial_value(meta, name) for name in names}
    for name, value in values.items():
        _become_constant(graph, name, value)
    return values


def initial_value(meta: Any, name: str) -> np.ndarray[Any, Any]:
    """Returns what a variable's initializer gives it.

    Raises:
        Unconvertible: names the variable, and why there is no one value.
    """
    graph = NodeGraph(meta.graph_def)
    tensor = initial_values(meta).get(name)
    if tensor is None or port_of(tensor).node not in graph.nodes:
        raise errors.Unconvertible(
            f"use --keep-stored {name}, or choose outputs before it: the .meta does not say what "
            "it is initialised with"
        )
    shape = graph_variable(graph, name).shape
    small = shape is None or int(np.prod(shape)) <= _MAX_ELEMENTS
    value = constant_value(graph, port_of(tensor)) if small else None
    if value is None or (shape is not None and value.shape != shape):
        raise errors.Unconvertible(
            f"use --keep-stored {name}, or choose outputs before it: its initializer {tensor} "
            f"({graph.op(port_of(tensor))}) is no constant, but random, too large, or of an input"
        )
    return value


def see_assigned(graph: NodeGraph, name: str, forward: AbstractSet[str]) -> None:
    """Lets, in place, what sees the result of a variable's assignment take what it assigns.

    That is the result itself, and a read that waits for the assignment.

    Args:
        graph: the graph that is being switched.
        name: the variable.
        forward: the nodes of the outputs.
    """
    changing = {one.node: one.values for one in assignments(graph).get(name, ())}
    for reader in sorted(forward):
        node = graph.nodes[reader]
        if reader in changing:
            _become_result(graph, reader, reader, changing[reader], name)
            continue
        waited = [one for one in graph.controls(reader) if one in changing]
        if node.op in _READS and len(waited) == 1:
            source = graph.inputs(reader)[0]
            if variable_of(graph, source) == name:
                _become_result(graph, reader, waited[0], changing[waited[0]], name)


def _become_result(
    graph: NodeGraph, reader: str, update: str, values: tuple[Port, ...], name: str
) -> None:
    op, dtype = graph.nodes[update].op, graph_variable(graph, name).dtype
    if len(values) != 1 or op not in _VALUES | _SUMS.keys():
        return
    before = read_of(graph, name, graph.consumers())
    graph.become_identity(reader, values[0], dtype)
    if op in _SUMS:
        node = graph.nodes[reader]
        node.op = _SUMS[op]
        node.input.insert(0, str(before))


def _become_constant(graph: NodeGraph, name: str, value: np.ndarray[Any, Any]) -> None:
    node = graph.nodes[name]
    dtype = graph_variable(graph, name).dtype
    if node.op in RESOURCE:
        _take_values(graph, name, dtype)
    node.op = "Const"
    node.attr.clear()
    node.attr["dtype"].type = dtype
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype=tf.as_dtype(dtype)))


def _take_values(graph: NodeGraph, name: str, dtype: int) -> None:
    """Turns what passes a handle on into what passes a value on."""
    passing = [
        one
        for one in graph.nodes
        if any(is_handle(graph, port) and variable_of(graph, port) == name
               for port in graph.inputs(one))
    ]  # fmt: skip
    for one in passing:
        node = graph.nodes[one]
        if node.op == "ReadVariableOp":
            graph.become_identity(one, graph.inputs(one)[0], dtype)
        elif "T" in node.attr:
            node.attr["T"].type = dtype


def follow_batch(
    graph: NodeGraph,
    values: Mapping[str, np.ndarray[Any, Any]],
    decisions: Mapping[str, Decision],
    feed: Feed,
) -> None:
    """Gives, in place, each example of a request its own initial state.

    Args:
        graph: the graph that is being switched.
        values: variable -> what it was initialised with.
        decisions: say along which axis a state has its examples.
        feed: the input whose first dimension is the batch.

    Raises:
        Unconvertible: the examples of a batch begin differently, or lie along no known axis.
    """
    batch = feed.shape[0] if feed.shape else -1
    for name, value in values.items():
        axis = decisions[name].content.axis
        if axis is None and batch > 1 and batch in value.shape:
            raise errors.Unconvertible(
                f"use --keep-stored {name}, or choose outputs before it: it may have a place for "
                f"each example of training's batch of {batch}, and along which axis is not known"
            )
        if axis is None or axis >= value.ndim:
            continue
        row = value.take([0], axis)
        if (value != row).any():
            raise errors.Unconvertible(
                f"use --keep-stored {name}, or choose outputs before it: its initial value is "
                f"another for each of the {value.shape[axis]} places in a batch"
            )
        repeat_rows(graph, name, row, axis, feed.port)
