"""Placeholders and flags that have one value in inference get it for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.constants import constant_value, set_constant
from exporter_service.meta_graph.feeds import PLACEHOLDERS
from exporter_service.meta_graph.node_graph import NodeGraph, Port
from exporter_service.meta_graph.op_defs import output_types, stated_shape
from exporter_service.meta_graph.tensor_names import find_port, parse_name
from exporter_service.meta_graph.variables import REFERENCE
from service_kit import errors

_BOOL = tf.bool.as_datatype_enum


def bind(graph: NodeGraph, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Binds, in place, the nodes that the user named; returns name -> value as text.

    Raises:
        Unconvertible: there is no such node, or its type does not take the value.
    """
    done = {}
    for text, value in wanted.items():
        port = find_port(graph, parse_name(text)[1], "a node to bind")
        types = output_types(graph.nodes[port.node])
        if not types:
            raise errors.Unconvertible(f"{port.node} has no value that could be bound")
        try:
            set_constant(graph, port.node, value, types[0])
        except (ValueError, TypeError) as error:
            raise errors.Unconvertible(f"{port.node} cannot be {value!r}: {error}") from error
        done[port.node] = str(value)
    return done


def bind_phases(graph: NodeGraph, forward: set[str], inputs: set[str]) -> dict[str, str]:
    """Binds, in place, every scalar flag among `forward` to False: inference is no training.

    A flag is a boolean placeholder or variable. Returns name -> value as text.
    """
    done = {}
    for name in sorted(forward - inputs):
        node = graph.nodes[name]
        if node.op not in PLACEHOLDERS | REFERENCE or node.attr["dtype"].type != _BOOL:
            continue
        if stated_shape(node, 0) in ([], None):
            set_constant(graph, name, value=False, dtype=_BOOL)
            done[name] = "False"
    for name in sorted(forward - inputs):
        node = graph.nodes[name]
        if node.op == "ReadVariableOp" and node.attr["dtype"].type == _BOOL:
            handle = graph.inputs(name)[0].node
            set_constant(graph, name, value=False, dtype=_BOOL)
            done[handle] = "False"
    return done


def bind_defaults(graph: NodeGraph, forward: set[str], inputs: set[str]) -> dict[str, str]:
    """Gives, in place, every scalar placeholder with a constant default that default."""
    done = {}
    for name in sorted(forward - inputs):
        node = graph.nodes[name]
        if node.op != "PlaceholderWithDefault":
            continue
        value = constant_value(graph, graph.inputs(name)[0])
        if value is not None and value.size == 1:
            dtype = node.attr["dtype"].type
            graph.become_identity(name, graph.inputs(name)[0], dtype)
            done[name] = str(value.item())
    return done


def bind_rates(graph: NodeGraph, forward: set[str], thresholds: list[Port]) -> dict[str, str]:
    """Gives, in place, placeholders that dropouts took as keep probability the value 1.

    Only those that still reach the outputs by another way are bound; the dropouts are gone.
    """
    done = {}
    for threshold in thresholds:
        for name in sorted(graph.ancestors([threshold]) & forward):
            node = graph.nodes[name]
            if node.op in PLACEHOLDERS:
                set_constant(graph, name, 1.0, node.attr["dtype"].type)
                done[name] = "1.0"
    return done
